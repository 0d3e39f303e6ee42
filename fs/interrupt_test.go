package fs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestStatusDying(t *testing.T) {
	cases := []struct {
		name, status string
		want         bool
	}{
		{"nothing pending", "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n", false},
		{"SIGKILL to the thread", "SigPnd:\t0000000000000100\nShdPnd:\t0\n", true},
		{"SIGKILL to the process", "SigPnd:\t0\nShdPnd:\t0000000000000100\n", true},
		{"SIGTERM, default action", "SigPnd:\t0\nShdPnd:\t0000000000004000\n", true},
		{"SIGTERM, caught", "ShdPnd:\t4000\nSigCgt:\t4000\n", false},
		{"SIGTERM, blocked", "ShdPnd:\t4000\nSigBlk:\t4000\n", false},
		{"SIGTERM, ignored", "ShdPnd:\t4000\nSigIgn:\t4000\n", false},
		{"SIGURG by default", "SigPnd:\t0000000000400000\n", false},
		{"SIGCHLD by default", "ShdPnd:\t0000000000010000\n", false},
		{"SIGALRM caught and SIGINT not", "ShdPnd:\t2002\nSigCgt:\t2000\n", true},
		{"no masks at all", "Name:\tcat\nState:\tD (disk sleep)\n", false},
	}
	for _, c := range cases {
		if got := statusDying([]byte(c.status)); got != c.want {
			t.Errorf("%s: dying is %t", c.name, got)
		}
	}
}

func FuzzStatusDying(f *testing.F) {
	f.Add([]byte("SigPnd:\t0000000000000100\nShdPnd:\tzz\n"))
	f.Fuzz(func(t *testing.T, status []byte) { statusDying(status) })
}

func TestTaskDying(t *testing.T) {
	const none = 1 << 30
	for _, all := range []tasks{{}, {hidden: true}} {
		self := uint32(os.Getpid())
		if !all.visible(self) || all.dying(self) {
			t.Errorf("%+v: this process is invisible, or said to be dying", all)
		}
		if all.visible(0) {
			t.Errorf("%+v: a task of another namespace is visible", all)
		}
		if all.visible(none) == all.hidden || !all.dying(none) {
			t.Errorf("%+v: a task that /proc does not show", all)
		}
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	if (tasks{}).dying(pid) {
		t.Error("a task that sleeps is said to be dying")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if !(tasks{}).dying(pid) {
		t.Error("a task that is gone is said to live")
	}
}

func TestHidesTasks(t *testing.T) {
	for options, want := range map[string]bool{
		"rw": false, "rw,hidepid=noaccess": false, "rw,hidepid=1,gid=5": false, "rw,gid=5,hidepid=invisible": true,
		"rw,hidepid=2": true, "rw,hidepid=ptraceable,subset=pid": true,
	} {
		text := "22 1 0:21 / /proc rw,nosuid - proc proc " + options + "\n23 1 0:22 / /sys rw - sysfs sysfs rw\n"
		if got := hidesTasks(strings.NewReader(text)); got != want {
			t.Errorf("%s: %t", options, got)
		}
	}
}

// testTasks has one task.
type testTasks struct {
	ends *atomic.Bool
	seen bool
}

func (t testTasks) visible(uint32) bool { return t.seen }
func (t testTasks) dying(uint32) bool   { return t.ends.Load() }

// testPatience has a task and a connection whose ends the test decides.
func testPatience() (p patience, dying *atomic.Bool, abort func()) {
	dying = new(atomic.Bool)
	gone := make(chan struct{})
	return patience{
		tasks: testTasks{dying, true},
		gone:  gone,
	}, dying, func() { close(gone) }
}

// after waits for d, or for the end of ctx.
func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func TestPatience(t *testing.T) {
	cases := []struct {
		name      string
		interrupt bool
		end       string // what ends one second later
		want      error
	}{
		{name: "not interrupted"},
		{name: "not interrupted, then killed", end: "task", want: context.Canceled},
		{name: "not interrupted, then an abort", end: "connection", want: context.Canceled},
		{name: "harmless signal", interrupt: true},
		{name: "harmless signal, then a fatal one", interrupt: true, end: "task", want: context.Canceled},
		{name: "harmless signal, then an abort", interrupt: true, end: "connection", want: context.Canceled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, dying, abort := testPatience()
				cancel := make(chan struct{})
				if c.interrupt {
					close(cancel)
				}
				time.AfterFunc(time.Second, func() {
					dying.Store(c.end == "task")
					if c.end == "connection" {
						abort()
					}
				})
				err := p.wait(cancel, 1, after(time.Minute))
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestPatienceWithTheDying(t *testing.T) {
	p, dying, _ := testPatience()
	dying.Store(true)
	cancel := make(chan struct{})
	close(cancel)
	err := p.wait(cancel, 1, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// Who was never seen is not taken for dead because it cannot be seen.
func TestPatienceWithTheInvisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dying, _ := testPatience()
		p.tasks = testTasks{dying, false}
		dying.Store(true)
		if err := p.wait(nil, 1, after(time.Minute)); err != nil {
			t.Error(err)
		}
	})
}

// TestPatienceIsFree holds that a request which does not wait starts nothing.
func TestPatienceIsFree(t *testing.T) {
	p, _, _ := testPatience()
	cancel := make(chan struct{})
	if n := testing.AllocsPerRun(100, func() {
		if err := p.wait(cancel, 1, func(ctx context.Context) error { return ctx.Err() }); err != nil {
			t.Error(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
