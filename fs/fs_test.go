package fs_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func TestReadersGetTheBytes(t *testing.T) {
	// Not a whole number of anything: neither pages nor blocks.
	data := randomBytes(9<<20 + 12345)
	store := memstore.New(map[string][]byte{"m/model.safetensors": data, "empty": nil, "tiny": []byte("x")})
	m := mount(t, store, options{})
	path := m.path("m/model.safetensors")
	if got := output(t, "sha256sum", path); !strings.HasPrefix(got, digest(data)) {
		t.Errorf("sha256sum: %s", got)
	}
	if got := strings.TrimSpace(child(t, "mmap", path)); got != digest(data) {
		t.Errorf("mmap: %s", got)
	}
	if got := strings.TrimSpace(child(t, "direct", path)); got != digest(data) {
		t.Errorf("O_DIRECT: %s", got)
	}
	if got := output(t, "dd", "if="+path, "bs=1000", "skip=9437", "count=3", "status=none"); got != string(data[9437000:9440000]) {
		t.Error("dd got other bytes")
	}
	if got := output(t, "cat", m.path("empty"), m.path("tiny")); got != "x" {
		t.Errorf("cat: %q", got)
	}
	h := openInChild(t, path)
	for _, r := range []struct{ off, n int64 }{{0, 8}, {9 << 20, 12345}, {9 << 20, 1 << 20}, {int64(len(data)), 10}, {1 << 40, 1}} {
		lo, hi := min(r.off, int64(len(data))), min(r.off+r.n, int64(len(data)))
		if got := h.read(r.off, r.n); got != digest(data[lo:hi]) {
			t.Errorf("pread of %d at %d: %s", r.n, r.off, got)
		}
	}
	if s := m.Stats(); s.Reads == 0 || s.ReadBytes < int64(len(data)) || s.ReadErrors != 0 || s.Panics != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestPagesAreKeptAcrossOpens(t *testing.T) {
	data := randomBytes(4 << 20)
	m := mount(t, memstore.New(map[string][]byte{"a": data}), options{})
	output(t, "cat", m.path("a"))
	before := m.Stats().Reads
	output(t, "cat", m.path("a"))
	if after := m.Stats().Reads; after != before {
		t.Errorf("the second cat sent %d READs", after-before)
	}
}

func TestAttributes(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": []byte("hello")})
	store.Put("l", memstore.Object{Target: "d/f"})
	m := mount(t, store, options{fs: fs.Config{UID: 12, GID: 34}})
	got := fields(child(t, "stat", m.path("d/f"), m.path("d"), m.path("l"), m.dir))
	for i, want := range [][]string{
		{"5", "100644", "12", "34", "1700000000"},
		{"0", "40755", "12", "34"},
		{"3", "120777", "12", "34"},
		{"0", "40755", "12", "34"},
	} {
		if strings.Join(got[i][1:1+len(want)], " ") != strings.Join(want, " ") {
			t.Errorf("stat of number %d: %v, want %v after the inode", i, got[i], want)
		}
	}
	if got := output(t, "readlink", m.path("l")); got != "d/f\n" {
		t.Errorf("readlink: %q", got)
	}
	if got := output(t, "cat", m.path("l")); got != "hello" {
		t.Errorf("cat through the link: %q", got)
	}
	if got := output(t, "stat", "-f", "-c", "%l", m.dir); got != "255\n" {
		t.Errorf("longest name: %q", got)
	}
}

func TestModesAreLiteral(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": nil})
	cache, err := prefetch.New(store, prefetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	for _, cfg := range []fs.Config{{FileMode: 0o1777}, {DirMode: 0o1777}} {
		if _, err := fs.Mount(t.TempDir(), store, cache, nil, cfg); err == nil || !strings.Contains(err.Error(), "1777") {
			t.Errorf("modes %o and %o: %v", cfg.FileMode, cfg.DirMode, err)
		}
	}
}

// The kernel asks the modes, not the daemon, who may open what.
func TestPermissionsHoldForOthers(t *testing.T) {
	const owner = nobody - 1
	for _, c := range []struct {
		file, dir            uint32
		user                 uint32
		lists, enters, reads bool
	}{
		{0o644, 0o755, nobody, true, true, true},
		{0o600, 0o755, nobody, true, true, false},
		{0o644, 0o700, nobody, false, false, false},
		{0o644, 0o711, nobody, false, true, true},
		{0o600, 0o700, owner, true, true, true},
		{0o044, 0o755, owner, true, true, false},
	} {
		t.Run(fmt.Sprintf("files %o, folders %o, user %d", c.file, c.dir, c.user), func(t *testing.T) {
			store := memstore.New(map[string][]byte{"d/f": []byte("x")})
			m := mount(t, store, options{dir: publicDir(t), fs: fs.Config{
				AllowOther: true, UID: owner, GID: owner, FileMode: c.file, DirMode: c.dir,
			}})
			for command, allowed := range map[string]bool{"ls d": c.lists, "stat d/f": c.enters, "cat d/f": c.reads} {
				name, key, _ := strings.Cut(command, " ")
				cmd := exec.Command(name, m.path(key))
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}}
				cmd.Env = append(os.Environ(), "LC_ALL=C")
				out, err := cmd.CombinedOutput()
				if refused := strings.Contains(string(out), "Permission denied"); (err == nil) != allowed || refused == allowed {
					t.Errorf("%s: %v: %s", command, err, out)
				}
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	const n = 20_000
	files := map[string][]byte{}
	for i := range n {
		files[fmt.Sprintf("d/shard-%05d", i)] = []byte("x")
	}
	store := memstore.New(files)
	m := mount(t, store, options{ttl: -1})
	names := strings.Fields(output(t, "ls", "-f", m.path("d")))
	if len(names) != n+2 || names[0] != "." || names[2] != "shard-00000" || names[n+1] != fmt.Sprintf("shard-%05d", n-1) {
		t.Errorf("ls shows %d names: %s ... %s", len(names), names[:3], names[len(names)-1])
	}
	if got := output(t, "find", m.path("d"), "-type", "f", "-size", "-2", "-printf", "."); len(got) != n {
		t.Errorf("find sees %d files", len(got))
	}
	if got := store.Listed("d"); got != 1 {
		t.Errorf("%d listings for one directory", got)
	}
	if s := m.Stats(); s.Lookups > 10 || s.Inodes < n {
		t.Errorf("%d look-ups beside READDIRPLUS, %d inodes", s.Lookups, s.Inodes)
	}
}

func TestEveryChangeIsRefused(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("x"), "d/g": nil})
	m := mount(t, store, options{})
	f, d, fresh := m.path("f"), m.path("d"), m.path("new")
	for _, command := range [][]string{
		{"touch", fresh}, {"touch", "-d", "2001-01-01", f}, {"mkdir", fresh}, {"rmdir", d}, {"rm", "-f", f},
		{"mv", f, fresh}, {"ln", f, fresh}, {"ln", "-s", f, fresh}, {"chmod", "600", f}, {"chown", "1", f},
		{"truncate", "-s", "0", f}, {"dd", "if=/dev/zero", "of=" + f, "count=1"}, {"mkfifo", fresh},
	} {
		if got := complaint(t, command[0], command[1:]...); !strings.Contains(got, "Read-only file system") {
			t.Errorf("%v: %s", command, got)
		}
	}
}

func TestMissingNames(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": nil})
	m := mount(t, store, options{ttl: -1})
	for _, key := range []string{"x", "d/x", "d/f/x"} {
		got := complaint(t, "cat", m.path(key))
		if !strings.Contains(got, "No such file") && !strings.Contains(got, "Not a directory") {
			t.Errorf("%s: %s", key, got)
		}
	}
	listings := store.Listed("d")
	for range 3 {
		complaint(t, "cat", m.path("d/x"))
	}
	if got := store.Listed("d"); got != listings {
		t.Errorf("an absence that is known took %d listings", got-listings)
	}
}

// An open handle keeps its version. Once a reader has met the change, the next
// open sees the new version, however long listings live.
func TestReplacedObject(t *testing.T) {
	store := memstore.New(map[string][]byte{"d/f": []byte("old content, and more of it")})
	m := mount(t, store, options{ttl: -1})
	path := m.path("d/f")
	before := fields(child(t, "stat", path))[0]
	h := openInChild(t, path)
	store.Put("d/f", memstore.Object{Data: []byte("new")})
	if got := h.read(0, 5); got != "ESTALE" {
		t.Errorf("an open handle reads %s, want ESTALE", got)
	}
	if got := output(t, "cat", path); got != "new" {
		t.Errorf("cat: %q", got)
	}
	after := fields(child(t, "stat", path))[0]
	if before[0] == after[0] || after[1] != "3" {
		t.Errorf("inode and size before %v, after %v", before[:2], after[:2])
	}
	if got := h.read(0, 5); got != "ESTALE" {
		t.Errorf("the old handle reads %s, want ESTALE", got)
	}
}

func TestChangesShowWhenListingsExpire(t *testing.T) {
	store := memstore.New(map[string][]byte{"f": []byte("old")})
	m := mount(t, store, options{ttl: 20 * time.Millisecond})
	if got := output(t, "cat", m.path("f")); got != "old" {
		t.Errorf("cat: %q", got)
	}
	store.Put("f", memstore.Object{Data: []byte("new content")})
	eventually(t, func() bool {
		got, err := exec.Command("cat", m.path("f")).Output()
		return err == nil && string(got) == "new content"
	})
	store.Remove("f")
	eventually(t, func() bool { return exec.Command("test", "-e", m.path("f")).Run() != nil })
}

// eventually asks again and again. Only a hang ends it before the answer is yes.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for hung := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(hung) {
			t.Fatal("it never came about")
		}
	}
}

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
