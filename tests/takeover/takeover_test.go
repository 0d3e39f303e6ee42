package takeover

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// child is this test binary once more, which does something with a mount until its
// stdin ends.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// startChild has the test binary do what a variable stands for. Where the test ends
// before the child, so does the mount, on which it may hang.
func startChild(t *testing.T, m *rig.Mount, variable string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), variable+"="+m.Dir)
	c.cmd.Stderr = os.Stderr
	var err error
	c.stdin, err = c.cmd.StdinPipe()
	noError(t, err)
	out, err := c.cmd.StdoutPipe()
	noError(t, err)
	c.out = bufio.NewReader(out)
	noError(t, c.cmd.Start())
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = rig.KillMountd(m.Process.PID())
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
	})
	return c
}

// bounded does what waits for the child, and ends the test if that hangs.
func (c *child) bounded(do func() error) {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		noError(c.t, err)
	case <-time.After(patience):
		c.t.Fatal("a reader hangs")
	}
}

// crowd is the process of readers.
type crowd struct{ *child }

// read has readers read a mount until finish.
func read(t *testing.T, m *rig.Mount) crowd {
	t.Helper()
	c := crowd{startChild(t, m, readersVariable)}
	c.bounded(func() error {
		line, err := c.out.ReadString('\n')
		if err == nil && line != "reading\n" {
			err = fmt.Errorf("the readers say %q", line)
		}
		return err
	})
	return c
}

// finish ends the readers, and holds that nothing has failed.
func (c crowd) finish() summary {
	c.t.Helper()
	noError(c.t, c.stdin.Close())
	var s summary
	c.bounded(func() error { return json.NewDecoder(c.out).Decode(&s) })
	noError(c.t, c.cmd.Wait()) // it has said its last word
	for _, failure := range s.Failures {
		c.t.Error(failure)
	}
	if s.Reads == 0 || s.Looks == 0 {
		c.t.Errorf("%+v: nothing was read", s)
	}
	return s
}

// answers waits until the mount answers what is asked of the daemon itself.
func answers(t *testing.T, m *rig.Mount) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- unix.Statfs(m.Dir, &unix.Statfs_t{}) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("statfs: %v", err)
		}
	case <-time.After(patience):
		_ = rig.KillMountd(m.Process.PID())
		t.Fatal("the mount does not answer any more")
	}
}

// awaitServing waits for another process than the last to serve. It looks often, for
// those who kill that one too.
func awaitServing(t testing.TB, m *rig.Mount, last int) {
	t.Helper()
	for end := time.Now().Add(patience); m.PID() == last || m.PID() == m.Process.PID(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no other process serves")
		}
	}
}

// deaths are signals by which a process dies: mostly the one that the kernel sends
// for want of memory.
func deaths() []syscall.Signal {
	return []syscall.Signal{unix.SIGKILL, unix.SIGKILL, unix.SIGKILL, unix.SIGSEGV, unix.SIGKILL, unix.SIGABRT}
}

// checkNothingLeft holds that nothing of a mountd that has ended is there any more.
func checkNothingLeft(t *testing.T, m *rig.Mount) {
	t.Helper()
	if mounted, err := rig.IsMounted(m.Dir); mounted || err != nil {
		t.Errorf("still mounted: %v, %v", mounted, err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	noError(t, err)
	for _, command := range commands {
		text, _ := os.ReadFile(command) // it may just have ended
		if strings.Contains(string(text), m.Dir) {
			t.Errorf("%s is left: %q", filepath.Dir(command), text)
		}
	}
}

// folderOnTmpfs is the source in a file system of its own, which cannot be
// unmounted while anybody has a file of it open, the kernel included.
func folderOnTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	noError(t, unix.Mount("takeover", dir, "tmpfs", 0, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error("a file of the source is still open: ", errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
		}
	})
	rig.Succeed(t, nil, "cp", "-r", theStage.source+"/.", dir)
	return dir
}

// Sixteen readers see nothing of many deaths, in any moment.
func TestReadersSeeNoDeath(t *testing.T) {
	for name, tc := range map[string]struct {
		folder bool
		env    []string
	}{
		"bucket":        {},
		"bucket, found": {env: []string{noResend}},
		"folder":        {folder: true},
		"folder, found": {folder: true, env: []string{noResend}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := rig.MountOptions{Source: "s3://" + bucket, Env: append(theStage.Server.Env(), tc.env...), Args: []string{"--memory-limit", memoryLimit}}
			if tc.folder {
				opts.Source = folderOnTmpfs(t)
			}
			m, err := theStage.Mount(t.Context(), opts)
			noError(t, err)
			t.Cleanup(func() {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				checkNothingLeft(t, m)
				if t.Failed() {
					t.Log(m.Output())
				}
			})
			c := read(t, m)
			took := killInAnyMoment(t, m)
			s := c.finish()
			slices.Sort(took)
			t.Logf("from death to the first answer: median %v, at most %v; %d reads of %d MiB and %d looks, the longest took %v",
				took[len(took)/2], took[len(took)-1], s.Reads, s.Bytes>>20, s.Looks, s.Longest)
			checkIdle(t, m, *kills)
		})
	}
}

// killInAnyMoment kills who serves again and again, some that have only begun, and
// returns the times from a death to an answer.
func killInAnyMoment(t *testing.T, m *rig.Mount) (took []time.Duration) {
	t.Helper()
	random := rand.New(rand.NewPCG(2, 3))
	for i := range *kills {
		pause := time.Duration(random.IntN(300)) * time.Millisecond
		if i%4 == 3 {
			pause += 1100 * time.Millisecond // or it would be given up
		}
		time.Sleep(pause)
		serving := m.PID()
		died := time.Now()
		noError(t, unix.Kill(serving, deaths()[random.IntN(len(deaths()))]))
		if i%6 == 5 { // the next one too, as soon as it is there
			awaitServing(t, m, serving)
			again, err := m.KillServing()
			noError(t, err)
			awaitServing(t, m, again)
			answers(t, m)
			continue
		}
		answers(t, m)
		took = append(took, time.Since(died).Round(100*time.Microsecond))
		awaitServing(t, m, serving)
	}
	return took
}

// checkIdle holds that a mount whose readers have gone holds nothing of theirs, and
// has counted at least so many take-overs.
func checkIdle(t *testing.T, m *rig.Mount, takeovers int) {
	t.Helper()
	var report struct {
		Takeovers int              `json:"takeovers"`
		PID       int              `json:"pid"`
		Measures  map[string]int64 `json:"measures"`
	}
	if !rig.Eventually(func() bool {
		text := rig.Succeed(t, nil, theStage.Mountd, "status", "--json", m.Dir)
		noError(t, json.Unmarshal([]byte(text), &report))
		return report.Measures["open_files"]+report.Measures["active_fetches"]+report.Measures["unkept_inodes"]+report.Measures["panics_total"] == 0
	}) {
		t.Fatalf("it holds %v", report.Measures)
	}
	if report.Takeovers < takeovers || int64(report.Takeovers) != report.Measures["takeovers_total"] || report.PID != m.Process.PID() {
		t.Errorf("%+v after %d deaths of process %d's", report, takeovers, m.Process.PID())
	}
}

// One read of a store that does not answer outlasts 20 deaths, and gets its bytes
// when the store is back.
func TestOneReadOutlastsManyDeaths(t *testing.T) {
	for name, env := range map[string][]string{"resent": nil, "found": {noResend}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const deaths = 20
			p := proxy.Start(t, theStage.Server.Endpoint)
			release := make(chan struct{})
			m := theStage.MountFor(t, rig.MountOptions{
				Source: "s3://" + bucket, Args: []string{"--memory-limit", memoryLimit},
				Env: append(append(theStage.Server.Env(), env...), "AWS_ENDPOINT_URL="+p.Endpoint),
			})
			large, _ := names()
			rig.Succeed(t, nil, "stat", filepath.Join(m.Dir, large[0]))
			p.SetRules(1, proxy.Rule{Fault: proxy.Fault{Hold: release}})
			reader := exec.Command("dd", "if="+filepath.Join(m.Dir, large[0]), "iflag=direct", "bs=1M", "skip=3", "count=1", "status=none")
			got := make(chan []byte, 1)
			go func() {
				out, err := reader.Output()
				if err != nil {
					out = []byte(err.Error())
				}
				got <- out
			}()
			t.Cleanup(func() { _ = rig.KillMountd(m.Process.PID()) })
			for i := range deaths {
				rig.Await(t, fmt.Sprintf("after %d deaths the store is asked", i), func() bool { return p.Stats().Faults > 0 })
				time.Sleep(1100 * time.Millisecond) // or it would be given up
				p.ResetStats()
				serving, err := m.KillServing()
				noError(t, err)
				awaitServing(t, m, serving)
				answers(t, m)
			}
			close(release)
			select {
			case out := <-got:
				if want := content(large[0], largeSize)[3<<20 : 4<<20]; string(out) != string(want) {
					t.Errorf("the reader got %d bytes: %.100q", len(out), out)
				}
			case <-time.After(patience):
				t.Fatal("the reader hangs")
			}
			checkIdle(t, m, deaths)
			noError(t, m.Close())
			checkNothingLeft(t, m)
		})
	}
}

// doomed is a mount of the bucket that need not end well.
func doomed(t *testing.T, args ...string) *rig.Mount {
	t.Helper()
	m, err := theStage.Mount(t.Context(), rig.MountOptions{Source: "s3://" + bucket, Env: theStage.Server.Env(), Args: append(args, "--memory-limit", memoryLimit)})
	noError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// A keeper that is killed takes its mount with it, as a signal to end does: who has
// a file open reads it to its end.
func TestKeeperKilled(t *testing.T) {
	t.Parallel()
	m := doomed(t)
	large, _ := names()
	file, err := os.Open(filepath.Join(m.Dir, large[0]))
	noError(t, err)
	defer file.Close()
	noError(t, m.Process.Kill())
	got, err := io.ReadAll(file)
	if err != nil || string(got) != string(content(large[0], largeSize)) {
		t.Errorf("the reader got %d bytes: %v", len(got), err)
	}
	noError(t, file.Close())
	rig.Await(t, "the process that served has ended", func() bool {
		commands := rig.Succeed(t, nil, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")
		return !strings.Contains(commands, m.Dir)
	})
	checkNothingLeft(t, m)
}

// A mount whose processes die one after the other is ended: its readers get
// ENOTCONN, and do not wait.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	m := doomed(t)
	large, _ := names()
	file, err := os.Open(filepath.Join(m.Dir, large[0]))
	noError(t, err)
	defer file.Close()
	rig.Await(t, "it is given up", func() bool {
		select {
		case <-m.Done():
			return true
		default:
		}
		if serving := m.PID(); serving != m.Process.PID() {
			_ = unix.Kill(serving, unix.SIGKILL) // it may just have ended
		}
		return false
	})
	if _, err := file.ReadAt(make([]byte, 1), largeSize/2); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("the reader gets %v", err)
	}
	if code := m.Wait(); code != 1 || !regexp.MustCompile(`(?m)^mountd: mount at .*: 10 processes that served died one after the other, the last by: signal: killed: given up$`).MatchString(m.Output()) {
		t.Errorf("exit %d: %s", code, m.Output())
	}
	checkNothingLeft(t, m)
}

// awaitLine waits until a process has written what matches pattern.
func awaitLine(t *testing.T, p *rig.Process, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.AwaitOutput(ctx, regexp.MustCompile(pattern)); err != nil {
		t.Error(err)
	}
}

// The log says of each death what happened, and of each take-over what was taken;
// metrics are served at the same address, and a status that is watched goes on.
func TestTakeoverIsTold(t *testing.T) {
	t.Parallel()
	const address = "127.78.0.1:9180" // where nobody else listens
	m := theStage.MountFor(t, rig.MountOptions{Source: "s3://" + bucket, Env: theStage.Server.Env(), Args: []string{"--memory-limit", memoryLimit, "--http", address}})
	rig.Succeed(t, nil, "ls", "-R", m.Dir)
	watch, err := rig.StartProcess(exec.Command(theStage.Mountd, "status", "--watch", "--json", m.Dir))
	noError(t, err)
	t.Cleanup(func() { noError(t, watch.Kill()) })
	awaitLine(t, watch, `"takeovers":0,`)
	serving, err := m.KillServing()
	noError(t, err)
	for _, line := range []string{
		fmt.Sprintf("the process that serves has died: another takes over.* pid=%d ", serving),
		fmt.Sprintf("how the process that served has died.* pid=%d cause=.signal: killed", serving),
		"took the mount over.* takeover=1 .*inodes=[1-9][0-9]* damaged=0 ", // those that the kernel still knows
	} {
		awaitLine(t, m.Process, line)
	}
	awaitLine(t, watch, `"takeovers":1,`)
	var answer *http.Response
	rig.Await(t, "metrics are served", func() bool {
		answer, err = http.Get("http://" + address + "/metrics")
		return err == nil
	})
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(text), "\nweightfs_takeovers_total 1\n") {
		t.Errorf("metrics: %v: %s", err, text)
	}
	if out := rig.Succeed(t, nil, theStage.Mountd, "status", m.Dir); !regexp.MustCompile(`(?m)^takeovers +1 from `).MatchString(out) {
		t.Error(out)
	}
}

// sockets are where a mount is asked for its status, and for an upgrade.
func sockets(t *testing.T, m *rig.Mount) []string {
	t.Helper()
	digest := sha256.Sum256([]byte(m.Dir))
	found, err := filepath.Glob(fmt.Sprintf("/run/weightfs/%x.*", digest[:12]))
	noError(t, err)
	return found
}

// A process that takes over reads by the shared cache as the one before it did. Where
// a mount has ended, none of its sockets is left.
func TestTakeoverReadsBySharedCache(t *testing.T) {
	t.Parallel()
	cache := proxy.Start(t, theStage.Server.Endpoint) // a proxy that caches nothing
	m := theStage.MountFor(t, rig.MountOptions{
		Source: "s3://" + bucket, Env: theStage.Server.Env(),
		Args: []string{"--memory-limit", memoryLimit, "--cache-url", cache.Endpoint},
	})
	_, small := names()
	reads := func(name string) {
		t.Helper()
		before := cache.Stats().Requests["GET"]
		if got := rig.Succeed(t, nil, "cat", filepath.Join(m.Dir, name)); got != string(content(name, smallSize)) {
			t.Errorf("%s has %d bytes", name, len(got))
		}
		if cache.Stats().Requests["GET"] == before {
			t.Errorf("%s was not read by the shared cache", name)
		}
	}
	reads(small[0])
	serving, err := m.KillServing()
	noError(t, err)
	awaitServing(t, m, serving)
	reads(small[1])
	if open := sockets(t, m); len(open) < 2 {
		t.Errorf("the process that serves and its keeper are found at %q", open)
	}
	noError(t, m.Close())
	if left := sockets(t, m); len(left) > 0 {
		t.Errorf("sockets are left: %q", left)
	}
	checkNothingLeft(t, m)
}

// With one process alone, its death is the end.
func TestNoKeeper(t *testing.T) {
	t.Parallel()
	m := doomed(t, "--no-keeper")
	if m.PID() != m.Process.PID() {
		t.Errorf("process %d serves, and %d was started", m.PID(), m.Process.PID())
	}
	noError(t, m.Kill())
	if err := unix.Statfs(m.Dir, &unix.Statfs_t{}); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("the dead mount: %v", err)
	}
}
