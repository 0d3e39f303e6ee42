package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// outputLimit is how much of the end of a child's output is kept.
const outputLimit = 1 << 20

// Process is a running child. Its methods are safe for concurrent use.
type Process struct {
	cmd    *exec.Cmd
	output tail
	done   chan struct{} // closed once the child is reaped
}

// StartProcess runs cmd. Output that cmd does not direct elsewhere is kept. The child
// is killed if this process ends first, or gets cmd.SysProcAttr.Pdeathsig if that
// is set: the kernel does that when the thread that started the child ends, so
// that thread is kept until then. A Ctrl-C on the terminal reaches this process
// alone, which ends its children in order.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.output
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.WaitDelay = time.Second // for pipes that a grandchild keeps open
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // what became of it is in ProcessState
	}
}

// PID returns the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output returns the end of what the child has written so far.
func (p *Process) Output() string { return p.output.String() }

// AwaitOutput waits until what the child has written matches pattern, and returns
// the first match as regexp.FindStringSubmatch does. What a child has written is
// seen a moment later here: to look once at Output, right after something else
// that it did, is too early. It fails if the child ends without a match, or ctx
// does.
func (p *Process) AwaitOutput(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ended := false; ; {
		if match := pattern.FindStringSubmatch(p.Output()); match != nil {
			return match, nil
		}
		if ended {
			return nil, fmt.Errorf("%s ended without writing %q: %s", p.cmd.Path, pattern, p.Output())
		}
		select {
		case <-p.done:
			ended = true
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not write %q: %w", p.cmd.Path, pattern, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Wait waits for the end and returns the exit code, or minus the number of the
// signal that ended the child.
func (p *Process) Wait() int {
	<-p.done
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return -int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// CoreDumped waits for the end and tells whether it left a core.
func (p *Process) CoreDumped() bool {
	<-p.done
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump()
}

// Signal sends a signal; to a child that has ended it does nothing.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Kill ends the child at once and waits for it.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Stop asks the child to end by SIGTERM, and kills it if it has not after
// grace, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.cmd.Path, grace), p.Kill())
	}
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if excess := t.buf.Len() - outputLimit; excess > 0 {
		t.buf.Next(excess)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
