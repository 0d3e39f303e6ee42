package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestSignals holds what SIGTERM and SIGINT do to a mount that is idle, one
// whose open file is closed in time, one that is told twice, and one whose file
// nobody closes.
func TestSignals(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name+"/idle", func(t *testing.T) {
			t.Parallel()
			m := mountBucket(t)
			signal(t, m, sig)
			awaitExit(t, m, 0)
		})
		t.Run(name+"/file open", func(t *testing.T) {
			t.Parallel()
			r := newScene(t)
			reader := hold(t, r.file(), false)
			signal(t, r.mount, sig)
			awaitDetached(t, r.mount)
			must(t, reader.finish())
			awaitExit(t, r.mount, 0)
		})
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/file left open, again %t", name, again), func(t *testing.T) {
				t.Parallel()
				m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: theStage.Server.Env()}, 1)
				reader := hold(t, m.Dir+"/"+object, false)
				signal(t, m, sig)
				awaitDetached(t, m)
				if again {
					signal(t, m, sig)
				}
				awaitExit(t, m, 1)
				o := reader.finish()
				if len(o.Failures) == 0 {
					t.Errorf("the reader got %v", o)
				}
			})
		}
	}
}

func signal(t *testing.T, m *rig.Mount, sig os.Signal) {
	t.Helper()
	noError(t, m.Signal(sig))
}

func awaitDetached(t *testing.T, m *rig.Mount) {
	t.Helper()
	if !rig.Eventually(func() bool {
		mounted, err := rig.IsMounted(m.Dir)
		noError(t, err)
		return !mounted
	}) {
		t.Fatal("still mounted")
	}
}

// awaitExit waits for mountd's end with that exit code and nothing mounted.
func awaitExit(t *testing.T, m *rig.Mount, want int) {
	t.Helper()
	if !rig.Eventually(func() bool { return closed(m.Done()) }) {
		t.Fatal("mountd does not end")
	}
	if code := m.Wait(); code != want {
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
// mountpoint over, says so, and serves: from the moment on at which it is known to
// be there, nobody meets the dead one any more, whose readers got an error.
func TestKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, string){
		"foreground": func(t *testing.T, dir string) {
			m := mountFor(t, rig.MountOptions{Source: "s3://" + bucket, Dir: dir, Env: theStage.Server.Env()})
			awaitLogged(t, m.Process, "daemon is gone")
		},
		"--daemon": func(t *testing.T, dir string) {
			succeed(t, theStage.Mountd, "--daemon", "s3://"+bucket, dir)
			t.Cleanup(func() { succeed(t, "umount", dir) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			dead, err := theStage.Mount(t.Context(), rig.MountOptions{Source: "s3://" + bucket, Dir: dir, Env: theStage.Server.Env()})
			noError(t, err)
			reader := hold(t, dir+"/"+object, false)
			noError(t, dead.Kill())
			w := watchOpens(t, dir+"/"+object)
			start(t, dir)
			w.sinceNow()
			if o := reader.finish(); len(o.Failures) == 0 {
				t.Errorf("the reader of the dead mount got: %v", o)
			}
			must(t, readFile(t, "sequential", dir+"/"+object))
		})
	}
}

// openWatch opens a file without end, in several children.
type openWatch struct {
	t     *testing.T
	there atomic.Bool  // the file is
	looks atomic.Int64 // since
	wg    sync.WaitGroup
}

// enoughLooks is how many must find the file.
const enoughLooks = 200

func watchOpens(t *testing.T, path string) *openWatch {
	t.Helper()
	w := &openWatch{t: t}
	for range 3 {
		reader := startReader(t)
		w.wg.Go(func() {
			for w.looks.Load() < enoughLooks && !t.Failed() {
				there := w.there.Load()
				o, err := reader.try(order{Op: "open", Path: path}) // attributes are the kernel's for a while
				if err != nil || there && o.errno() != "" {
					t.Errorf("a look at the file: %v, %v", o.Failures, err)
				}
				if err == nil && o.errno() == "" {
					reader.try(order{Op: "close"}) // the next look tells if it ended
				}
				if there {
					w.looks.Add(1)
				}
			}
		})
	}
	t.Cleanup(w.wg.Wait)
	return w
}

// sinceNow holds that from now on all looks find the file.
func (w *openWatch) sinceNow() {
	w.there.Store(true)
	w.wg.Wait()
}

// TestFrozenDaemon holds that a mountd which does not run for a while takes the
// bytes that came meanwhile, and does not ask for them again.
func TestFrozenDaemon(t *testing.T) {
	t.Parallel()
	r := newScene(t)
	const held = 4
	release := make(chan struct{})
	r.proxy.SetRules(1, proxy.Rule{Op: "GET", Skip: 2, Count: held, Fault: proxy.Fault{Hold: release}})
	reader, began := startReader(t), time.Now()
	noError(t, reader.ask(order{Op: "sequential", Path: r.file()}))
	if !rig.Eventually(func() bool { return r.proxy.Stats().Faults == held }) {
		t.Fatal("too little is asked for")
	}
	signal(t, r.mount, syscall.SIGSTOP)
	close(release)
	if !rig.Eventually(func() bool { return r.proxy.Stats().InFlight == 0 }) {
		t.Error("the answers do not fit into the connections")
	}
	arrived := r.proxy.Log()
	// Longer than any of them may be silent: two seconds, or four times what an
	// answer took so far.
	time.Sleep(2*time.Second + min(5*time.Since(began), 20*time.Second))
	goesOn := time.Now()
	signal(t, r.mount, syscall.SIGCONT)
	o, err := reader.answer()
	noError(t, err)
	must(t, o)
	r.checkTaken(arrived, goesOn)
}

// checkTaken holds that nothing of the held answers that arrived was asked for
// again later.
func (r *scene) checkTaken(arrived []proxy.Record, later time.Time) {
	r.t.Helper()
	judged := 0
	for _, a := range arrived {
		if a.Op != "GET" || a.Rule == nil || a.Err != "" {
			continue
		}
		judged++
		for _, b := range r.proxy.Log() {
			if b.Op == "GET" && b.Start.After(later) && b.Offset < a.Offset+a.Length && b.Offset+b.Length > a.Offset {
				r.t.Errorf("[%d,+%d) was asked for again: [%d,+%d)", a.Offset, a.Length, b.Offset, b.Length)
			}
		}
	}
	if judged == 0 {
		r.t.Error("no answer came while it was stopped")
	}
}

// TestUnmountWhileReading holds that a mount in use cannot be unmounted, and
// that one which is detached serves its readers to their end.
func TestUnmountWhileReading(t *testing.T) {
	t.Parallel()
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
			r := newScene(t)
			reader := hold(t, r.file(), false)
			reader.askHalf()
			result := runChild(t, nil, c.command[0], append(c.command[1:], r.mount.Dir)...)
			if busy := result.Code != 0; busy == c.detached {
				t.Errorf("%s: exit %d: %s", name, result.Code, result.Stderr)
			}
			reader.awaitHalf()
			must(t, reader.finish())
			if !c.detached {
				checkQuiet(t, r.mount)
				succeed(t, c.command[0], append(c.command[1:], r.mount.Dir)...)
			}
			awaitExit(t, r.mount, 0)
		})
	}
}

// TestManyHandles holds that opening and closing leaves nothing behind.
func TestManyHandles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ opens, atOnce int }{{10_000, 1}, {1_000, 1_000}} {
		t.Run(fmt.Sprintf("%d opens, %d at once", c.opens, c.atOnce), func(t *testing.T) {
			t.Parallel()
			m := mountBucket(t, "--memory-limit", "32Mi")
			path := m.Dir + "/" + object
			must(t, readFile(t, "sequential", path))
			checkQuiet(t, m)
			before, reader := usageOf(t, m), startReader(t)
			reader.do(t, order{Op: "open", Path: theStage.original})
			want := reader.do(t, order{Op: "read", Size: 4096})
			for i := range c.opens {
				reader.do(t, order{Op: "open", Path: path, Handle: i})
				if o := reader.do(t, order{Op: "read", Handle: i, Size: 4096}); !o.same(want) {
					t.Fatalf("open %d: %v", i, o)
				}
				if c.atOnce == 1 {
					reader.do(t, order{Op: "close", Handle: i})
				}
			}
			open := measures(t, m.Dir)["open_files"]
			noError(t, reader.Kill())
			checkQuiet(t, m)
			after := usageOf(t, m)
			t.Logf("%v before, %d open at the end, %v after", before, open, after)
			if c.atOnce > 1 && open != int64(c.atOnce) {
				t.Errorf("%d files were open", open)
			}
			if after.descriptors() > before.descriptors()+5 || after.goroutines > before.goroutines+10 || after.threads > before.threads+40 {
				t.Errorf("%v before, %v after", before, after)
			}
		})
	}
}

// TestFewDescriptors holds that a mountd which may open hardly anything is slow
// at most.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, way := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			m := mountBucket(t, "--memory-limit", "32Mi", "--part-size", "1Mi")
			used := usageOf(t, m).descriptors()
			limitDescriptors(t, m, used+3)
			r := &scene{t: t, mount: m}
			must(t, r.read(way))
			limitDescriptors(t, m, 1024)
			checkQuiet(t, m)
			limitDescriptors(t, m, used-3)
			signal(t, m, syscall.SIGTERM)
			awaitExit(t, m, 0)
		})
	}
}

// limitDescriptors sets how many descriptors a mountd may have.
func limitDescriptors(t *testing.T, m *rig.Mount, n int) {
	t.Helper()
	var limit unix.Rlimit
	noError(t, unix.Prlimit(m.PID(), unix.RLIMIT_NOFILE, nil, &limit))
	limit.Cur = uint64(n)
	noError(t, unix.Prlimit(m.PID(), unix.RLIMIT_NOFILE, &limit, nil))
}

// TestMemoryLimitAboveCgroup holds that a limit which the cgroup does not allow
// is lowered, with a warning, rather than left to the kernel's killer, by reading
// twice what the cgroup has.
func TestMemoryLimitAboveCgroup(t *testing.T) {
	const allowed, size, key = 384 << 20, 768 << 20, "above"
	noError(t, putSparse(t, key, size))
	group := rig.CgroupFor(t, "faults")
	noError(t, group.SetLimit(allowed))
	m := mountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Env: theStage.Server.Env(), Cgroup: group, Args: []string{"--memory-limit", "4Gi"},
	})
	if o := readFile(t, "parallel", filepath.Join(m.Dir, key)); len(o.Failures) > 0 {
		t.Errorf("the reader got: %v", o)
	}
	must(t, readFile(t, "parallel", filepath.Join(m.Dir, object)))
	limit := reportOf(t, m.Dir).MemoryLimit
	kills, err := group.Kills()
	noError(t, err)
	peak, err := group.Peak()
	noError(t, err)
	t.Logf("limit of %d MiB, peak of %d MiB, %d killed", limit>>20, peak>>20, kills)
	if kills > 0 || limit >= allowed || limit < 16<<20 {
		t.Errorf("limit of %d bytes, %d killed; the log: %s", limit, kills, m.Output())
	}
	awaitLogged(t, m.Process, "memory limit")
	checkQuiet(t, m)
}

// TestKilledReader holds that a reader can be killed while it waits for a store
// that says nothing, and that its fetches end with it.
func TestKilledReader(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"sequential", "parallel", "mapped"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := newScene(t)
			succeed(t, "stat", r.file())
			r.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: proxy.Fault{End: proxy.Stall, After: 1000}})
			reader := startReader(t)
			noError(t, reader.ask(order{Op: way, Path: r.file()}))
			if !rig.Eventually(func() bool { return measures(t, r.mount.Dir)["active_fetches"] > 0 }) {
				t.Error("nothing is fetched")
			}
			noError(t, reader.Signal(syscall.SIGKILL))
			if !rig.Eventually(func() bool { return closed(reader.Done()) }) {
				t.Fatal("the killed reader does not end")
			}
			checkQuiet(t, r.mount)
		})
	}
}
