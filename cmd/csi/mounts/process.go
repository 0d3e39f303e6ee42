package mounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"weightfs/cmd/cli"
	"weightfs/cmd/csi/volume"
)

// ErrRefused says that mountd refused what the volume asks for, by its exit code
// for wrong usage.
var ErrRefused = errors.New("wrong attributes")

// ErrSource says that mountd could not mount what the volume asks for: the source
// is not there, or may not be read, or the node lacks something.
var ErrSource = errors.New("cannot mount")

// process is a mountd that we started.
type process struct {
	cmd  *exec.Cmd
	log  int64         // where in the log its part begins
	done chan struct{} // closed once it is reaped
}

// awaitEnd waits for the end for that long.
func (p *process) awaitEnd(grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
}

// prepare makes what mountd needs, and the next driver.
func (p *Pool) prepare(digest string, spec volume.Spec) error {
	if err := os.MkdirAll(p.mountpoint(digest), 0o700); err != nil {
		return fmt.Errorf("make the mountpoint: %w", err)
	}
	if err := replace(filepath.Join(p.folder(digest), "spec"), spec.Record()); err != nil {
		return fmt.Errorf("write down what a mount is: %w", err)
	}
	return p.writeToken(digest, spec)
}

// writeToken replaces the token.
func (p *Pool) writeToken(digest string, spec volume.Spec) error {
	token := spec.Credentials.Token()
	if token == "" {
		return nil
	}
	if err := replace(p.tokenFile(digest), []byte(token)); err != nil {
		return fmt.Errorf("write the token: %w", err)
	}
	return nil
}

// replace replaces a file at once, so that nobody ever reads a part.
func replace(name string, text []byte) error {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// start runs the mountd of spec, with more flags, and returns once its mount answers,
// which is logged as that event. What it needs is prepared and the digest is locked;
// the caller cleans up after an error.
func (p *Pool) start(ctx context.Context, digest string, spec volume.Spec, event string, more ...string) error {
	ready, err := listenReady(filepath.Join(p.folder(digest), "ready"))
	if err != nil {
		return err
	}
	defer ready.Close()
	mountd, err := p.run(digest, spec, ready.LocalAddr().String(), more)
	if err != nil {
		return err
	}
	select {
	case <-awaitReady(ready):
		p.mu.Lock()
		p.started[digest] = mountd
		p.mu.Unlock()
		p.cfg.Logger.Info(event, "source", spec.Source, "mount", digest, "pid", mountd.cmd.Process.Pid)
		return nil
	case <-mountd.done:
		return p.cause(digest, mountd)
	case <-ctx.Done():
		err := mountd.cmd.Process.Kill()
		<-mountd.done
		return errors.Join(fmt.Errorf("mountd did not mount in time: %w", ctx.Err()), err)
	}
}

// run starts a mountd in a session of its own, where no signal to us reaches it.
// Its log is a file, which is there when we are gone.
func (p *Pool) run(digest string, spec volume.Spec, ready string, more []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(p.folder(digest), "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of mountd: %w", err)
	}
	defer log.Close()
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("log of mountd: %w", err)
	}
	cmd := exec.Command(p.cfg.Mountd, slices.Concat(spec.Flags, more, []string{"--", spec.Source, p.mountpoint(digest)})...)
	cmd.Dir = "/"
	cmd.Env = append(spec.Credentials.Environment(os.Environ(), p.tokenFile(digest)), "NOTIFY_SOCKET="+ready)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start mountd: %w", err)
	}
	mountd := &process{cmd: cmd, log: end, done: make(chan struct{})}
	go func() { // as long as mountd, which may outlive us
		defer close(mountd.done)
		_ = cmd.Wait() // what became of it is in ProcessState
	}()
	return mountd, nil
}

// cause is why a mountd ended before its mount answered: the line that it wrote.
func (p *Pool) cause(digest string, mountd *process) error {
	code := mountd.cmd.ProcessState.ExitCode()
	text, err := os.ReadFile(filepath.Join(p.folder(digest), "log"))
	if err != nil {
		return fmt.Errorf("mountd ended with %d: %w", code, err)
	}
	said := fmt.Sprintf("mountd ended with %d", code)
	for line := range strings.Lines(string(text[min(mountd.log, int64(len(text))):])) {
		if cause, ok := strings.CutPrefix(strings.TrimSpace(line), "mountd: "); ok {
			said = cause
		}
	}
	if code == cli.ExitUsage {
		return fmt.Errorf("%w: %s", ErrRefused, said)
	}
	return fmt.Errorf("%w: %s", ErrSource, said)
}

// listenReady opens the socket of sd_notify(3) by which mountd tells that its
// mount answers.
func listenReady(name string) (*net.UnixConn, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for mountd: %w", err)
	}
	return conn, nil
}

// awaitReady closes the returned channel when mountd is ready. It ends with conn.
func awaitReady(conn *net.UnixConn) <-chan struct{} {
	ready := make(chan struct{})
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := conn.Read(message)
			if err != nil {
				return
			}
			for line := range bytes.Lines(message[:n]) {
				if string(bytes.TrimSpace(line)) == daemon.SdNotifyReady {
					close(ready)
					return
				}
			}
		}
	}()
	return ready
}
