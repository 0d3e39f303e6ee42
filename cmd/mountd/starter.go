package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/keeper"
	weightfs "weightfs/fs"
)

const (
	// daemonVariable marks the process that --daemon starts, and workerVariable one
	// that a keeper starts: how often one took over before it, and behind a space the
	// region that the first one found.
	daemonVariable = "_WEIGHTFS_DAEMON"
	workerVariable = "_WEIGHTFS_WORKER"
	// starterDescriptor is such a process's end of the link to its starter.
	starterDescriptor = 3
	// understandTimeout bounds how long a keeper may take to hear of the end.
	understandTimeout = 5 * time.Second
)

// hasStarter tells whether this process was started by --daemon, or by a keeper.
func hasStarter(env cli.Lookup) bool {
	_, daemon := env(daemonVariable)
	_, worker := env(workerVariable)
	return daemon || worker
}

// errStarterGone says that the starter cannot mount, and has said why, or is gone.
var errStarterGone = errors.New("nobody mounts for this daemon")

// starter is the process that started this one by --daemon, or its keeper, seen from
// here. It mounts for us: an automounter lets no process pass to the mountpoint but
// those of the group of its mount(8), before that has ended. So nothing here looks
// at the path until the starter was told that the mount answers.
type starter struct {
	link    *keeper.Link
	signals chan os.Signal
	mounted chan mountResult // gets one result

	keeps      bool          // it is a keeper, which stays
	takeovers  int           // before this process: for each, one has died
	region     string        // of the source, where one has died
	understood chan struct{} // closed once a keeper knows that the mount has ended
}

type mountResult struct {
	mount *weightfs.Attachment
	err   error
}

// findStarter is the starter of a daemon or a worker. Its end before it has mounted
// is taken for a signal to end, that of a keeper at any time.
func findStarter(env cli.Lookup, signals chan os.Signal) (*starter, error) {
	s := &starter{signals: signals, mounted: make(chan mountResult, 1), understood: make(chan struct{})}
	var text, n string
	var err error
	if text, s.keeps = env(workerVariable); s.keeps {
		n, s.region, _ = strings.Cut(text, " ")
		if s.takeovers, err = strconv.Atoi(n); err != nil {
			return nil, fmt.Errorf("variable %s is for mountd alone: %w", workerVariable, err)
		}
	}
	if s.link, err = keeper.InheritLink(starterDescriptor); err != nil {
		return nil, fmt.Errorf("variables %s and %s are for mountd alone: %w", daemonVariable, workerVariable, err)
	}
	go s.receive()
	return s, errors.Join(os.Unsetenv(daemonVariable), os.Unsetenv(workerVariable))
}

// receive hears what the starter says, until it is gone.
func (s *starter) receive() {
	mounted := false
	for {
		what, _, mount, err := s.link.Hear()
		if !mounted && (mount != nil || err != nil) {
			s.mounted <- mountResult{mount, err}
			mounted = true
		}
		switch {
		case err != nil:
			s.signal(syscall.SIGHUP)
		case what == keeper.Terminate:
			s.signal(syscall.SIGTERM)
		case what == keeper.Understood:
			close(s.understood)
		}
		if err != nil || !s.keeps && mounted {
			return
		}
	}
}

func (s *starter) signal(sig os.Signal) {
	select {
	case s.signals <- sig:
	default: // others wait there
	}
}

// mount has the starter mount, and returns what it mounted. The source's region is
// for the processes that take over from this one.
func (s *starter) mount(region string) (*weightfs.Attachment, error) {
	if s.takeovers == 0 { // otherwise it comes unasked
		if err := s.link.Say(keeper.SourceIsOpen, region); err != nil {
			return nil, fmt.Errorf("%w: %w", errStarterGone, err)
		}
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

// answers tells the starter that the mount answers, with which it ends if it is no
// keeper.
func (s *starter) answers() error {
	if s.keeps {
		if err := s.link.Say(keeper.MountAnswers, keeper.Canaries()); err != nil {
			return fmt.Errorf("%w: %w", errStarterGone, err)
		}
		return nil
	}
	if err := errors.Join(s.link.Say(keeper.MountAnswers, ""), s.link.Close()); err != nil {
		return fmt.Errorf("%w: %w", errStarterGone, err)
	}
	return nil
}

// ended tells a keeper that the mount has ended, and waits until it knows: this
// process's end is no death then.
func (s *starter) ended() {
	if !s.keeps || s.link.Say(keeper.MountEnded, "") != nil {
		return
	}
	timer := time.NewTimer(understandTimeout)
	defer timer.Stop()
	select {
	case <-s.understood:
	case <-timer.C:
	}
}
