package child

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(exec.Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWaitReturnsTheExitCode(t *testing.T) {
	p := start(t, "echo out; echo err >&2; exit 3")
	if code := p.Wait(); code != 3 || p.Output() != "out\nerr\n" {
		t.Errorf("exit %d with %q", code, p.Output())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal after the end: %v", err)
	}
}

func TestKillAndStop(t *testing.T) {
	p := start(t, "exec sleep 100")
	if err := p.Kill(); err != nil || p.Wait() != -int(syscall.SIGKILL) {
		t.Errorf("killed: %v, exit %d", err, p.Wait())
	}
	p = start(t, "exec sleep 100")
	if err := p.Stop(time.Minute); err != nil || p.Wait() != -int(syscall.SIGTERM) {
		t.Errorf("stopped: %v, exit %d", err, p.Wait())
	}
	p = start(t, "trap '' TERM; while :; do sleep 0.1; done")
	if err := p.Stop(time.Millisecond); err == nil && p.Wait() != -int(syscall.SIGTERM) {
		t.Error("a deaf child was stopped without an error")
	}
}

func TestStartFails(t *testing.T) {
	if _, err := Start(exec.Command("/nonexistent")); err == nil {
		t.Error("no error")
	}
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
