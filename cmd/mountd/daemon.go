package main

import (
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"math"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"weightfs/cmd/mountd/keeper"
	weightfs "weightfs/fs"
)

// startDaemon runs the same command again in a session of its own, mounts for it
// once it has opened the source, and returns when the mount answers. A daemon that
// fails writes its cause to our stderr by itself, and its exit code becomes ours;
// the mount is taken away again.
func (a *app) startDaemon(s *settings) error {
	link, theirs, err := keeper.NewLink()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	defer link.Close()
	daemon, err := a.spawn(theirs)
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	defer a.passSignals(daemon.Process)()
	mount, err := a.mountFor(link, s)
	if mount != nil {
		defer mount.Close()
	}
	if err == nil && says(link, keeper.MountAnswers) {
		return nil
	}
	link.Close() // a daemon that waits for us ends
	if ended := daemon.Wait(); err == nil {
		err = a.failed(ended)
	}
	if mount != nil {
		err = errors.Join(err, mount.Detach())
	}
	return err
}

// spawn starts the daemon with its end of the socket, which is closed here.
func (a *app) spawn(theirs *os.File) (*exec.Cmd, error) {
	defer theirs.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// What we happen to have inherited is not the daemon's to keep open: a pipe that
	// somebody reads to its end, the descriptor of a /dev/fd/N. Kernels before 5.11
	// cannot do this, and there it is.
	_ = unix.CloseRange(starterDescriptor, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.Command(self, a.args[1:]...)
	cmd.Args[0] = a.args[0] // the name says which conventions hold
	cmd.Env = append(os.Environ(), daemonVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// mountFor mounts for the daemon at the other end of the link when that has opened
// the source. It returns nil where the daemon ended before.
func (a *app) mountFor(link *keeper.Link, s *settings) (*weightfs.Attachment, error) {
	if !says(link, keeper.SourceIsOpen) {
		return nil, nil
	}
	mount, err := weightfs.Attach(s.mountpoint, s.mountConfig(s.logLevel.Logger(a.stderr)))
	if err != nil {
		return nil, err
	}
	// One that has ended meanwhile has said why.
	if err := link.Pass(mount); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return mount, err
	}
	return mount, nil
}

// says tells whether the next that comes over the link is this message.
func says(link *keeper.Link, message byte) bool {
	what, _, _, err := link.Hear()
	return err == nil && what == message
}

// passSignals ends the daemon with us until the returned function is called.
func (a *app) passSignals(process *os.Process) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-a.signals:
				// It may have ended by itself; then there is nothing to do.
				_ = process.Signal(sig)
			case <-done:
				return
			}
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

// detach lets go of the terminal and has the log go to syslog.
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
