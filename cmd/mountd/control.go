package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/monitor"
)

// controlTimeout bounds how long the other side of a control socket may take.
const controlTimeout = 10 * time.Second

// controlDir is where the control sockets of this user are.
func controlDir(env cli.Lookup) (string, error) {
	if os.Geteuid() == 0 {
		return "/run/weightfs", nil
	}
	dir, ok := env("XDG_RUNTIME_DIR")
	if !ok || dir == "" {
		return "", errors.New("XDG_RUNTIME_DIR is not set")
	}
	return filepath.Join(dir, "weightfs"), nil
}

// controlSocket is the control socket of a mountpoint, which is absolute and
// free of links. The name is a digest: a path may be longer than a socket's
// name can be.
func controlSocket(env cli.Lookup, mountpoint string) (string, error) {
	dir, err := controlDir(env)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(mountpoint))
	return filepath.Join(dir, hex.EncodeToString(digest[:12])+".sock"), nil
}

// serveControl answers every connection to the control socket with a report,
// until the returned function is called.
func (m *mounted) serveControl() (stop func() error, err error) {
	name, err := controlSocket(os.LookupEnv, m.Mountpoint)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return serveSocket("unix", name, m.Logger, m.answer)
}

// serveSocket listens at a socket for this user alone, and has one connection after
// the other answered, until the returned function is called.
func serveSocket(network, name string, logger *slog.Logger, answer func(net.Conn) error) (stop func() error, err error) {
	if err := makePrivate(filepath.Dir(name)); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Nobody else is mounted here: what is left is of one that crashed.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen(network, name)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// At our end a successor may have its socket there: see removeOwn.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	ours, err := os.Lstat(name)
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		answerAll(listener, logger, answer)
	}()
	return func() error {
		err := errors.Join(removeOwn(name, ours), listener.Close())
		<-ended
		return err
	}, nil
}

// makePrivate makes the folder of the control sockets, or sees to it that the one
// which is there is ours, and for us alone: somebody else's could put a socket of
// theirs in place of ours.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a folder of this user", dir)
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	return os.Chmod(dir, 0o700)
}

// removeOwn removes the socket called name if it is still ours: a mount that
// was detached with a file open may end when another has taken its place.
func removeOwn(name string, ours os.FileInfo) error {
	now, err := os.Lstat(name)
	if err == nil && os.SameFile(ours, now) {
		err = os.Remove(name)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// acceptPause is how long to wait after a failed accept, as when descriptors
// have run out: they may come back.
const acceptPause = 100 * time.Millisecond

// answerAll answers one connection after the other until the listener closes.
func answerAll(listener net.Listener, logger *slog.Logger, answer func(net.Conn) error) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			logger.Debug("cannot accept at the control socket", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		if err := answer(conn); err != nil {
			logger.Debug("cannot answer at the control socket", "err", err)
		}
	}
}

func (m *mounted) answer(conn net.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return err
	}
	return json.NewEncoder(conn).Encode(m.Report())
}

// askControl asks the mountd at the control socket name for its report.
func askControl(name string) (monitor.Report, error) {
	conn, err := net.DialTimeout("unix", name, controlTimeout)
	if err != nil {
		return monitor.Report{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return monitor.Report{}, err
	}
	var r monitor.Report
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return monitor.Report{}, fmt.Errorf("read the answer: %w", err)
	}
	return r, nil
}
