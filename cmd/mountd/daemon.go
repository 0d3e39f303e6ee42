package main

import (
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
)

const (
	// daemonVariable marks the process that --daemon starts.
	daemonVariable = "_WEIGHTFS_DAEMON"
	// readyDescriptor is where that process writes a byte when the mount
	// answers.
	readyDescriptor = 3
)

// isDaemonChild tells whether this process was started by --daemon.
func isDaemonChild(env cli.Lookup) bool {
	_, ok := env(daemonVariable)
	return ok
}

// startDaemon runs the same command again in a session of its own and returns
// once its mount answers. A daemon that fails writes its cause to our stderr by
// itself, and its exit code becomes ours.
func (a *app) startDaemon() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(self, a.args[1:]...)
	cmd.Args[0] = a.args[0] // the name says which conventions hold
	cmd.Env = append(os.Environ(), daemonVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	defer a.passSignals(cmd.Process)()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err == nil {
		return nil
	}
	return a.failed(cmd.Wait())
}

// passSignals ends the daemon with us until the returned function is called.
func (a *app) passSignals(process *os.Process) (stop func()) {
	done := make(chan struct{})
	go func() {
		select {
		case sig := <-a.signals:
			// It may have ended by itself; then there is nothing to do.
			_ = process.Signal(sig)
		case <-done:
		}
	}()
	return func() { close(done) }
}

// failed is how a daemon's end without a mount becomes ours.
func (a *app) failed(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		a.exit = exit.ExitCode()
		return nil
	}
	if err == nil {
		err = errors.New("it was unmounted at once")
	}
	return fmt.Errorf("the daemon ended before its mount answered: %w", err)
}

// detach lets go of the terminal, has the log go to syslog, and tells the
// parent that the mount answers.
func detach(log *switchWriter) error {
	log.set(systemLog())
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	ready := os.NewFile(readyDescriptor, "ready")
	defer ready.Close()
	if _, err := ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("tell that the mount answers: %w", err)
	}
	return nil
}

// systemLog is syslog, or nothing where there is none.
func systemLog() io.Writer {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "weightfs")
	if err != nil {
		return io.Discard
	}
	return w
}

// switchWriter is a writer that can be replaced while it is used.
type switchWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (s *switchWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func (s *switchWriter) set(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
}
