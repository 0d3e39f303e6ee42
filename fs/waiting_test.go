// What readers get that wait: failures, short answers, interruptions.

package fs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/prefetch"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

func TestReadErrors(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{errors.New("connection reset"), "EIO"},
		{remote.ErrChanged, "ESTALE"},
		{os.ErrPermission, "EACCES"},
	}
	for _, c := range cases {
		t.Run(c.want, func(t *testing.T) {
			store := memstore.New(map[string][]byte{"f": []byte("hello")})
			m := mount(t, store, options{})
			store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error { return c.err }})
			h := openInChild(t, m.path("f"))
			if got := h.read(0, 5); got != c.want {
				t.Errorf("pread: %s, want %s", got, c.want)
			}
			if m.Stats().ReadErrors == 0 {
				t.Error("no read error was counted")
			}
			for _, part := range []string{"file=f", "offset=0", "op=read", c.err.Error()} {
				if !strings.Contains(m.log.String(), part) {
					t.Errorf("no %q in the log:\n%s", part, m.log)
				}
			}
		})
	}
}

// An answer that ends early is made up for, or is an error: to the kernel a short
// reply is the end of the file, and cuts it there for all readers.
func TestShortAnswers(t *testing.T) {
	const size, cut = 3 << 20, 1 << 20
	data := randomBytes(size)
	quick := remote.RetryPolicy{Attempts: 3, BaseDelay: time.Microsecond}
	cases := []struct {
		name    string
		retried bool
		ends    func(off int64, begun bool, before int) bool // whether a body ends at off, as so many did before
		served  bool
	}{
		{"once", true, func(_ int64, begun bool, before int) bool { return begun && before == 0 }, true},
		{"after each piece, for ever", true, func(_ int64, begun bool, _ int) bool { return begun }, true},
		{"at one place, for ever", true, func(off int64, _ bool, _ int) bool { return off >= cut }, false},
		{"at one place, not retried", false, func(off int64, _ bool, _ int) bool { return off >= cut }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mem := memstore.New(map[string][]byte{"f": data})
			var ended atomic.Int64
			cutShort(mem, &ended, c.ends)
			store := remote.Store(mem)
			if c.retried {
				store = remote.WithRetry(mem, quick)
			}
			m := mount(t, store, options{})
			buffered, direct := "EIO", "input/output error"
			if c.served {
				buffered, direct = digest(data), digest(data)
			}
			if got := openInChild(t, m.path("f")).read(0, size); got != buffered {
				t.Errorf("a buffered reader gets %s, want %s", got, buffered)
			}
			cmd := childCommand(t, "direct", m.path("f"))
			if got, _ := cmd.CombinedOutput(); !strings.Contains(string(got), direct) {
				t.Errorf("by O_DIRECT a reader gets %s, want %s", got, direct)
			}
			if got := output(t, "stat", "-c", "%s", m.path("f")); got != fmt.Sprintln(size) {
				t.Errorf("the file has %s bytes now", got)
			}
			if ended.Load() == 0 {
				t.Error("no answer ended early")
			}
		})
	}
}

// cutShort has bodies of store end early, without an error, where ends says so.
// begun tells whether the body has brought bytes.
func cutShort(store *memstore.Store, ended *atomic.Int64, ends func(off int64, begun bool, before int) bool) {
	var mu sync.Mutex
	starts := map[int64]bool{} // where a body begins
	store.Hook(memstore.Hooks{
		Range: func(_ context.Context, _ string, off int64) error {
			mu.Lock()
			defer mu.Unlock()
			starts[off] = true
			return nil
		},
		Read: func(_ context.Context, _ string, off int64) error {
			mu.Lock()
			defer mu.Unlock()
			if !ends(off, !starts[off], int(ended.Load())) {
				return nil
			}
			ended.Add(1)
			return io.EOF
		},
	})
}

func TestArchivedObject(t *testing.T) {
	store := memstore.New(nil)
	store.Put("cold", memstore.Object{Data: []byte("x"), Archived: true})
	m := mount(t, store, options{})
	if got := complaint(t, "cat", m.path("cold")); !strings.Contains(got, "Permission denied") {
		t.Errorf("cat: %s", got)
	}
	if !strings.Contains(m.log.String(), "archived") {
		t.Errorf("the log does not say why:\n%s", m.log)
	}
}

// A killed reader goes at once. The kernel waits on for what it reads ahead.
func TestKilledReader(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": randomBytes(1 << 20)})
	m := mount(t, store, options{})
	gate := hold(store)
	defer gate.open()
	h := openInChild(t, m.path("f"))
	h.ask(0, 1<<20)
	<-gate.waiting
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.cmd.Wait() // would hang if the read went on
}

// By O_DIRECT nobody waits but the reader: what was fetched for it ends too.
func TestKilledDirectReader(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": randomBytes(1 << 20)})
	m := mount(t, store, options{})
	gate := hold(store)
	defer gate.open()
	reader := childCommand(t, "direct", m.path("f"))
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	<-gate.waiting
	if err := reader.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	reader.Wait()
	<-gate.ended
	if s := m.Stats(); s.Killed == 0 || s.ReadErrors != 0 {
		t.Errorf("%d waits of killed tasks, %d read errors", s.Killed, s.ReadErrors)
	}
}

// A signal that its process handles must not cost it a read. By O_DIRECT the
// reader itself waits for the answer, so that the kernel tells of its signals.
func TestInterruptedReader(t *testing.T) {
	data := randomBytes(1 << 20)
	store := memstore.New(map[string][]byte{"f": data})
	m := mount(t, store, options{})
	gate := hold(store)
	defer gate.open()
	reader := childCommand(t, "direct", m.path("f"))
	var got strings.Builder
	reader.Stdout, reader.Stderr = &got, os.Stderr
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	<-gate.waiting
	eventually(t, func() bool { return interrupt(t, reader.Process.Pid) })
	for range 10 { // these are asked for after the interrupt
		complaint(t, "ls", m.path("none"))
	}
	gate.open()
	if err := reader.Wait(); err != nil || strings.TrimSpace(got.String()) != digest(data) {
		t.Errorf("the interrupted read gets %s, %v", got.String(), err)
	}
}

// interrupt sends a signal to each thread of a process, and tells whether one
// waits on in spite of it: its request was interrupted.
func interrupt(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Tgkill(pid, tid, unix.SIGURG); err != nil && err != unix.ESRCH {
			t.Fatal(err)
		}
		if status, _ := os.ReadFile(task + "/status"); strings.Contains(string(status), "State:\tD") {
			return true
		}
	}
	return false
}

func TestManyGoReaders(t *testing.T) {
	store := memstore.New(map[string][]byte{"a": randomBytes(8 << 20), "b": randomBytes(8 << 20)})
	m := mount(t, store, options{})
	child(t, "parallel", m.path("a"), m.path("b"))
	if s := m.Stats(); s.ReadErrors != 0 {
		t.Errorf("%d reads failed:\n%s", s.ReadErrors, m.log)
	}
}

// The kernel sends the READs of all who wait at once, while none of them is
// answered. What it kept back until others had failed would wait for the time-out
// after them.
func TestManyReadersAreAskedForAtOnce(t *testing.T) {
	const readers = 64
	store := memstore.New(map[string][]byte{"f": make([]byte, readers<<22)})
	m := mount(t, store, options{prefetch: prefetch.Config{Mode: prefetch.Off, MemoryLimit: 1 << 30, Concurrency: 256}})
	asked, failed := make(chan int64, 1<<16), make(chan struct{})
	letFail := sync.OnceFunc(func() { close(failed) })
	defer letFail()
	store.Hook(memstore.Hooks{Range: func(_ context.Context, _ string, off int64) error {
		asked <- off >> 22
		<-failed
		return errors.New("down")
	}})
	reader := childCommand(t, "fail", m.path("f"), strconv.Itoa(readers))
	reader.Stderr = os.Stderr
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.After(2 * time.Minute) // what is kept back never comes
	for seen := map[int64]bool{}; len(seen) < readers; {
		select {
		case i := <-asked:
			seen[i] = true
		case <-hung:
			t.Errorf("the store was asked for %d of %d readers", len(seen), readers)
			letFail()
			_ = reader.Wait()
			return
		}
	}
	letFail()
	if err := reader.Wait(); err != nil {
		t.Error(err)
	}
}

// Readers that wait for the store must hold no memory but the cache's: there may
// be hundreds, and the memory limit is a promise.
func TestWaitingReadersHoldNoMemory(t *testing.T) {
	const readers = 64
	data := randomBytes(readers << 20)
	store := memstore.New(map[string][]byte{"f": data})
	m := mount(t, store, options{prefetch: prefetch.Config{Mode: prefetch.Off}})
	gate := hold(store)
	defer gate.open()
	before := liveHeap()
	got := make(chan string)
	go func() { got <- strings.TrimSpace(child(t, "spread", m.path("f"))) }()
	eventually(t, func() bool {
		output(t, "true")
		return m.cache.Stats().Misses >= readers
	})
	held := liveHeap() - before
	t.Logf("%d waiting reads of 1 MiB hold %d KiB", readers, held>>10)
	if held > readers*(32<<10) {
		t.Errorf("want %d KiB at most", readers*32)
	}
	gate.open()
	if got := <-got; got != digest(data) {
		t.Errorf("the readers get %s", got)
	}
}

// liveHeap is what is in use of the Go heap, in bytes.
func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// A child must not inherit /dev/fuse: it would keep a dead mount's readers
// hanging.
func TestChildrenDoNotInheritTheDevice(t *testing.T) {
	mount(t, memstore.New(map[string][]byte{"f": []byte("x")}), options{})
	if got := output(t, "sh", "-c", "ls -l /proc/self/fd"); strings.Contains(got, "/dev/fuse") {
		t.Errorf("a child has:\n%s", got)
	}
}
