package rig

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func startScript(t *testing.T, script string) *Process {
	t.Helper()
	p, err := StartProcess(exec.Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWaitReturnsTheExitCode(t *testing.T) {
	p := startScript(t, "echo out; echo err >&2; exit 3")
	if code := p.Wait(); code != 3 || p.Output() != "out\nerr\n" {
		t.Errorf("exit %d with %q", code, p.Output())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal after the end: %v", err)
	}
	if _, err := StartProcess(exec.Command("/nonexistent")); err == nil {
		t.Error("what is not there was started")
	}
}

func TestAwaitOutput(t *testing.T) {
	told := regexp.MustCompile(`answer=(\d+)`)
	p := startScript(t, "sleep 0.05; echo answer=42; exec sleep 100")
	if match, err := p.AwaitOutput(t.Context(), told); err != nil || match[1] != "42" {
		t.Errorf("%q, %v", match, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := p.AwaitOutput(ctx, regexp.MustCompile("never")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what is never written: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	p = startScript(t, "echo a last word")
	if _, err := p.AwaitOutput(t.Context(), told); err == nil || !strings.Contains(err.Error(), "a last word") {
		t.Errorf("of a child that ended: %v", err)
	}
	if _, err := p.AwaitOutput(t.Context(), regexp.MustCompile("last")); err != nil {
		t.Errorf("the last word itself: %v", err)
	}
}

func TestKillAndStop(t *testing.T) {
	p := startScript(t, "exec sleep 100")
	if err := p.Kill(); err != nil || p.Wait() != -int(syscall.SIGKILL) {
		t.Errorf("killed: %v, exit %d", err, p.Wait())
	}
	p = startScript(t, "exec sleep 100")
	if err := p.Stop(time.Minute); err != nil || p.Wait() != -int(syscall.SIGTERM) {
		t.Errorf("stopped: %v, exit %d", err, p.Wait())
	}
	p = startScript(t, "trap '' TERM; while :; do sleep 0.1; done")
	if err := p.Stop(time.Millisecond); err == nil && p.Wait() != -int(syscall.SIGTERM) {
		t.Error("a deaf child was stopped without an error")
	}
}

// TestEndsWithItsParent has children of a parent that is killed: one dies of
// that, and one that is to be told has its last word.
func TestEndsWithItsParent(t *testing.T) {
	if dir := os.Getenv(parentVariable); dir != "" {
		beParent(t, dir)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestEndsWithItsParent$")
	cmd.Env = append(os.Environ(), parentVariable+"="+dir)
	parent, err := StartProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	Await(t, "both children run", func() bool { return exists("deaf") && exists("told") })
	pid, err := os.ReadFile(filepath.Join(dir, "deaf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	Await(t, "the one that is told has its last word", func() bool { return exists("last word") })
	Await(t, "the deaf one is gone", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
		return err != nil
	})
}

// parentVariable has the folder in which the children of a parent write.
const parentVariable = "WEIGHTFS_CHILD_TEST_PARENT"

// beParent starts both children and waits to be killed.
func beParent(t *testing.T, dir string) {
	t.Helper()
	deaf := exec.Command("sh", "-c", "trap '' TERM; echo $$ >.deaf; mv .deaf deaf; while :; do sleep 0.1; done")
	told := exec.Command("sh", "-c", "trap 'touch \"last word\"; exit' TERM; touch told; while :; do sleep 0.1; done")
	told.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	for _, cmd := range []*exec.Cmd{deaf, told} {
		cmd.Dir = dir
		if _, err := StartProcess(cmd); err != nil {
			t.Fatal(err)
		}
	}
	select {}
}

func TestOutputIsBounded(t *testing.T) {
	var out tail
	for range 3 {
		if _, err := out.Write([]byte(strings.Repeat("x", outputLimit/2) + "y")); err != nil {
			t.Fatal(err)
		}
	}
	if s := out.String(); len(s) != outputLimit || !strings.HasSuffix(s, "xy") {
		t.Errorf("%d bytes are kept", len(s))
	}
}
