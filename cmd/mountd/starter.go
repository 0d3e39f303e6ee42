package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"weightfs/cmd/cli"
	weightfs "weightfs/fs"
)

const (
	// daemonVariable marks the process that --daemon starts.
	daemonVariable = "_WEIGHTFS_DAEMON"
	// starterDescriptor is that process's end of the socket to its starter.
	starterDescriptor = 3
)

// What a daemon says to its starter, which answers the first by the mount.
const (
	sourceIsOpen  = 's'
	mountsAnswers = 'm'
)

// isDaemonChild tells whether this process was started by --daemon.
func isDaemonChild(env cli.Lookup) bool {
	_, ok := env(daemonVariable)
	return ok
}

// errStarterGone says that the starter cannot mount, and has said why, or is gone.
var errStarterGone = errors.New("nobody mounts for this daemon")

// starter is the process that started this one by --daemon, seen from here. It
// mounts for us: an automounter lets no process pass to the mountpoint but those
// of the group of its mount(8), before that has ended. So nothing here looks at the
// path until the starter was told that the mount answers.
type starter struct {
	conn    *net.UnixConn
	signals chan os.Signal
	mounted chan mountResult // gets one result
}

type mountResult struct {
	mount *weightfs.Attachment
	err   error
}

// findStarter is the starter of a daemon. Its end before it has mounted is taken
// for a signal to end.
func findStarter(signals chan os.Signal) (*starter, error) {
	file := os.NewFile(starterDescriptor, "starter")
	defer file.Close() // FileConn has a duplicate, which no child inherits
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("variable %s is for mountd alone: %w", daemonVariable, err)
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("variable %s is for mountd alone", daemonVariable), conn.Close())
	}
	s := &starter{conn: socket, signals: signals, mounted: make(chan mountResult, 1)}
	go s.receive()
	return s, os.Unsetenv(daemonVariable)
}

func (s *starter) receive() {
	mount, err := weightfs.Receive(s.conn)
	s.mounted <- mountResult{mount, err}
	if err != nil {
		select {
		case s.signals <- syscall.SIGHUP:
		default: // others wait there
		}
	}
}

// mount has the starter mount, and returns what it mounted.
func (s *starter) mount() (*weightfs.Attachment, error) {
	if _, err := s.conn.Write([]byte{sourceIsOpen}); err != nil {
		return nil, fmt.Errorf("%w: %w", errStarterGone, err)
	}
	result := mountResult{}
	select {
	case result = <-s.mounted:
	case sig := <-s.signals:
		select {
		case result = <-s.mounted: // whose end may be that signal
		default:
			return nil, fmt.Errorf("ended by a signal: %v", sig)
		}
	}
	if result.err != nil {
		return nil, fmt.Errorf("%w: %w", errStarterGone, result.err)
	}
	return result.mount, nil
}

// answers tells the starter that the mount answers, with which it ends.
func (s *starter) answers() error {
	_, err := s.conn.Write([]byte{mountsAnswers})
	if err = errors.Join(err, s.conn.Close()); err != nil {
		return fmt.Errorf("%w: %w", errStarterGone, err)
	}
	return nil
}
