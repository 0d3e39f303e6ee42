package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// seenBy begins a row of the table.
func seenBy(t *testing.T, expected string) *strings.Builder {
	seen := &strings.Builder{}
	theStage.table.add(t, expected, seen)
	return seen
}

// TestSignals holds what SIGTERM and SIGINT do to a mount that is idle, one
// whose open file is closed in time, and one that is told twice.
func TestSignals(t *testing.T) {
	for name, sig := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name+"/idle", func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "exit 0")
			m := mountBucket(t)
			signal(t, m, sig)
			awaitExit(t, m, seen, 0)
		})
		t.Run(name+"/file open", func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "detached, intact, exit 0")
			r := newScene(t)
			reader := hold(t, r.file())
			signal(t, r.mount, sig)
			awaitDetached(t, r.mount)
			fmt.Fprintf(seen, "detached, %v, ", must(t, reader.finish()))
			awaitExit(t, r.mount, seen, 0)
		})
		t.Run(name+"/file open, again", func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "detached, cut off at the second signal, exit 1")
			m := mountBucket(t, 1)
			reader := hold(t, m.Dir+"/"+object)
			signal(t, m, sig)
			awaitDetached(t, m)
			signal(t, m, sig)
			checkCutOff(t, m, reader, seen)
		})
	}
}

// TestSignalWithFileLeftOpen holds that a file which nobody closes does not keep
// a mount for ever.
func TestSignalWithFileLeftOpen(t *testing.T) {
	t.Parallel()
	seen := seenBy(t, "detached, cut off after 20 s, exit 1")
	m := mountBucket(t, 1)
	reader := hold(t, m.Dir+"/"+object)
	signal(t, m, syscall.SIGTERM)
	checkCutOff(t, m, reader, seen)
}

// checkCutOff holds that mountd ends with exit 1 and its reader with an error.
func checkCutOff(t *testing.T, m *rig.Mount, reader *heldReader, seen *strings.Builder) {
	t.Helper()
	began := time.Now()
	code := m.Wait()
	o := reader.finish()
	fmt.Fprintf(seen, "exit %d after %.1f s; the reader: %v", code, time.Since(began).Seconds(), o)
	if code != 1 || len(o.Failures) == 0 {
		t.Errorf("mountd ended with %d, its reader got %v", code, o)
	}
	checkUnmounted(t, m.Dir)
}

func signal(t *testing.T, m *rig.Mount, sig os.Signal) {
	t.Helper()
	if err := m.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// must returns o, which must be intact.
func must(t *testing.T, o outcome) outcome {
	t.Helper()
	if !o.intact() {
		t.Errorf("the reader got: %v", o)
	}
	return o
}

func awaitDetached(t *testing.T, m *rig.Mount) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), quietLimit)
	defer cancel()
	if err := rig.AwaitUnmount(ctx, m.Dir); err != nil {
		t.Fatalf("still mounted: %v", err)
	}
}

// awaitExit waits for mountd's end with that exit code and nothing mounted.
func awaitExit(t *testing.T, m *rig.Mount, seen *strings.Builder, want int) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(childLimit):
		t.Fatal("mountd does not end")
	}
	code := m.Wait()
	fmt.Fprintf(seen, "exit %d", code)
	if code != want {
		t.Errorf("mountd ended with %d, want %d", code, want)
	}
	checkUnmounted(t, m.Dir)
}

func checkUnmounted(t *testing.T, dir string) {
	t.Helper()
	if mounted, err := rig.IsMounted(dir); mounted || err != nil {
		t.Errorf("still mounted: %v, %v", mounted, err)
	}
}

// TestKilledAndStartedAgain holds that after SIGKILL a new mountd takes the
// mountpoint over at once, says so, and serves; and that readers of the dead
// one get an error.
func TestKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	seen := seenBy(t, "stale mount cleaned up, back in under 2 s, intact")
	dir := t.TempDir()
	opts := rig.MountOptions{Source: "s3://" + bucket, Dir: dir, Env: theStage.server.Env()}
	dead, err := theStage.Mount(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	reader := hold(t, dir+"/"+object)
	if err := dead.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m := mountFor(t, opts)
	if awaitLogged(t, m.Process, "msg=mounted") == nil { // the table shows the dead one until then
		t.FailNow()
	}
	back := time.Since(began)
	if o := reader.finish(); len(o.Failures) == 0 {
		t.Errorf("the reader of the dead mount got: %v", o)
	}
	fmt.Fprintf(seen, "back in %.2f s, %v", back.Seconds(), must(t, readFile(t, "sequential", dir+"/"+object)))
	if back > 2*time.Second {
		t.Errorf("it took %v", back)
	}
	awaitLogged(t, m.Process, "daemon is gone")
	checkQuiet(t, m)
}

// TestFrozenDaemon holds that a mountd which does not run for a while takes the
// bytes that came meanwhile, and does not ask for them again.
func TestFrozenDaemon(t *testing.T) {
	t.Parallel()
	seen := seenBy(t, "nothing is fetched twice")
	const size, key, freezes = 256 << 20, "frozen", 4
	if err := putSparse(t, key, size); err != nil {
		t.Fatal(err)
	}
	p := proxy.Start(t, theStage.server.Endpoint)
	p.SetShape(proxy.Shape{FirstByte: 20 * time.Millisecond, PerConnection: 20e6, Total: 100e6})
	m := mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Env: append(theStage.server.Env(), "AWS_ENDPOINT_URL="+p.Endpoint),
	})
	result := make(chan outcome, 1)
	go func() { result <- readFile(t, "sequential", m.Dir+"/"+key) }()
	for i := range int64(freezes) {
		if !eventually(quietLimit, func() bool { return measures(t, m.Dir)["fetched_bytes_total"] >= (2*i+1)*size/(2*freezes) }) {
			t.Fatal("the reading does not go on")
		}
		for _, s := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := m.Signal(s); err != nil {
				t.Fatal(err)
			}
			if s == syscall.SIGSTOP {
				time.Sleep(time.Second)
			}
		}
	}
	if o := <-result; len(o.Failures) > 0 {
		t.Errorf("the reader got: %v", o)
	}
	stalls, known := measures(t, m.Dir)["store_stalls_total"]
	fmt.Fprintf(seen, "stopped %d times for a second: %d requests replaced", freezes, stalls)
	if stalls > 0 || !known {
		t.Errorf("%d requests were taken for silent", stalls)
	}
}

// TestUnmountWhileReading holds that a mount in use cannot be unmounted, and
// that one which is detached serves its readers to their end.
func TestUnmountWhileReading(t *testing.T) {
	for name, c := range map[string]struct {
		command  []string
		detached bool
	}{
		"umount":            {[]string{"umount"}, false},
		"fusermount3 -u":    {[]string{"fusermount3", "-u"}, false},
		"umount -l":         {[]string{"umount", "-l"}, true},
		"fusermount3 -u -z": {[]string{"fusermount3", "-u", "-z"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expected := "busy, intact, then exit 0"
			if c.detached {
				expected = "detached, intact, exit 0"
			}
			seen := seenBy(t, expected)
			r := newScene(t)
			reader := hold(t, r.file())
			reader.goOn()
			result := runChild(t, nil, c.command[0], append(c.command[1:], r.mount.Dir)...)
			if busy := result.Code != 0; busy == c.detached {
				t.Errorf("%s: exit %d: %s", name, result.Code, result.Stderr)
			}
			reader.await("read")
			fmt.Fprintf(seen, "%v, ", must(t, reader.finish()))
			if !c.detached {
				checkQuiet(t, r.mount)
				succeed(t, c.command[0], append(c.command[1:], r.mount.Dir)...)
			}
			awaitExit(t, r.mount, seen, 0)
		})
	}
}

// TestManyHandles holds that opening and closing leaves nothing behind.
func TestManyHandles(t *testing.T) {
	page, err := pageDigest(theStage.original)
	if err != nil {
		t.Fatal(err)
	}
	for way, name := range map[string]string{"opens": "10,000 opens", "handles": "1,000 handles at once"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "nothing left")
			m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: theStage.server.Env(), Args: []string{"--memory-limit", "32Mi"}})
			path := m.Dir + "/" + object
			must(t, readFile(t, "sequential", path))
			checkQuiet(t, m)
			before := usageOf(t, m)
			if o := readFile(t, way, path); o.SHA256 != page {
				t.Errorf("the reader got: %v", o)
			}
			checkQuiet(t, m)
			after := usageOf(t, m)
			fmt.Fprintf(seen, "%v before, %v after", before, after)
			if after.descriptors > before.descriptors+5 || after.goroutines > before.goroutines+10 || after.threads > before.threads+40 {
				t.Errorf("%v before, %v after", before, after)
			}
		})
	}
}

// TestFewDescriptors holds that a mountd which may open hardly anything is slow
// at most.
func TestFewDescriptors(t *testing.T) {
	for _, way := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "intact; unmounts")
			m := mountFor(t, rig.MountOptions{
				Source: "s3://" + bucket, Env: theStage.server.Env(),
				Args: []string{"--memory-limit", "32Mi", "--part-size", "1Mi"},
			})
			used := usageOf(t, m).descriptors
			limitDescriptors(t, m, used+3)
			r := &scene{t: t, mount: m}
			fmt.Fprintf(seen, "%v with %d descriptors", must(t, r.read(way)), used+3)
			limitDescriptors(t, m, 1024)
			checkQuiet(t, m)
			limitDescriptors(t, m, used-3)
			signal(t, m, syscall.SIGTERM)
			fmt.Fprint(seen, "; without any: ")
			awaitExit(t, m, seen, 0)
		})
	}
}

// limitDescriptors sets how many descriptors a mountd may have.
func limitDescriptors(t *testing.T, m *rig.Mount, n int) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Prlimit(m.PID(), unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(n)
	if err := unix.Prlimit(m.PID(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryLimitAboveCgroup holds that a limit which the cgroup does not allow
// is lowered, with a warning, rather than left to the kernel's killer, by reading
// twice what the cgroup has.
func TestMemoryLimitAboveCgroup(t *testing.T) {
	seen := seenBy(t, "lowered and said so, read whole, not killed")
	const allowed, size, key = 384 << 20, 768 << 20, "above"
	if err := putSparse(t, key, size); err != nil {
		t.Fatal(err)
	}
	group, err := rig.NewCgroup("weightfs-faults")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := group.SetLimit(allowed); err != nil {
		t.Fatal(err)
	}
	m := mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Env: theStage.server.Env(), Cgroup: group, Args: []string{"--memory-limit", "4Gi"},
	})
	if o := readFile(t, "parallel", filepath.Join(m.Dir, key)); len(o.Failures) > 0 {
		t.Errorf("the reader got: %v", o)
	}
	must(t, readFile(t, "parallel", filepath.Join(m.Dir, object)))
	limit := memoryLimitOf(t, m)
	kills, err := group.Kills()
	if err != nil {
		t.Fatal(err)
	}
	peak, err := group.Peak()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(seen, "limit of %d MiB, peak of %d MiB, %d killed", limit>>20, peak>>20, kills)
	if kills > 0 || limit >= allowed || limit < 16<<20 {
		t.Errorf("limit of %d bytes, %d killed; the log: %s", limit, kills, m.Output())
	}
	awaitLogged(t, m.Process, "memory limit")
	checkQuiet(t, m)
}

// memoryLimitOf is the limit by which a mountd goes.
func memoryLimitOf(t *testing.T, m *rig.Mount) int64 {
	t.Helper()
	var report struct {
		MemoryLimit int64 `json:"memory_limit"`
	}
	if err := json.Unmarshal([]byte(succeed(t, theStage.Mountd, "status", "--json", m.Dir)), &report); err != nil {
		t.Fatal(err)
	}
	return report.MemoryLimit
}

// TestKilledReader holds that a reader can be killed while it waits for a store
// that says nothing, and that its fetches end with it.
func TestKilledReader(t *testing.T) {
	for _, way := range []string{"sequential", "parallel", "mapped"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			seen := seenBy(t, "reader and fetches end")
			r := newScene(t)
			succeed(t, "stat", r.file())
			r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: proxy.Fault{End: proxy.Stall, After: 1000}})
			reader, err := rig.StartProcess(exec.Command(theStage.reader, way, r.file()))
			if err != nil {
				t.Fatal(err)
			}
			if !eventually(quietLimit, func() bool { return measures(t, r.mount.Dir)["active_fetches"] > 0 }) {
				t.Error("nothing is fetched")
			}
			began := time.Now()
			if err := reader.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			select {
			case <-reader.Done():
			case <-time.After(quietLimit):
				t.Fatal("the killed reader does not end")
			}
			dead := time.Since(began)
			checkQuiet(t, r.mount)
			fmt.Fprintf(seen, "the reader after %.1f s, all fetches after %.1f s", dead.Seconds(), time.Since(began).Seconds())
		})
	}
}
