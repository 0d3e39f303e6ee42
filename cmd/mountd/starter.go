package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/keeper"
	weightfs "weightfs/fs"
)

const (
	// daemonVariable marks the process that --daemon starts, and workerVariable one
	// that a keeper starts, and what for: a keeper.Start in JSON.
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

	keeps        bool          // it is a keeper, which stays
	start        keeper.Start  // why a keeper has started this process
	handOver     chan struct{} // closed once another process is to serve in place of this one
	handOverOnce sync.Once
	takeOver     chan struct{} // closed once the process that served has ended, for this one
	understood   chan struct{} // closed once a keeper knows that the mount has ended
}

type mountResult struct {
	mount *weightfs.Attachment
	err   error
}

// findStarter is the starter of a daemon or a worker. Its end before it has mounted
// is taken for a signal to end, that of a keeper at any time.
func findStarter(env cli.Lookup, signals chan os.Signal) (*starter, error) {
	s := &starter{
		signals: signals, mounted: make(chan mountResult, 1),
		handOver: make(chan struct{}), takeOver: make(chan struct{}), understood: make(chan struct{}),
	}
	var text string
	var err error
	if text, s.keeps = env(workerVariable); s.keeps {
		if err = json.Unmarshal([]byte(text), &s.start); err != nil {
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
		case err != nil && s.start.Held:
			s.handOverOnce.Do(func() { close(s.handOver) })
		case err != nil:
			s.signal(syscall.SIGHUP)
		case what == keeper.Terminate:
			s.signal(syscall.SIGTERM)
		case what == keeper.HandOver:
			s.handOverOnce.Do(func() { close(s.handOver) })
		case what == keeper.TakeOver:
			close(s.takeOver)
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

// crashed tells whether this process takes over from one that has died: readers wait.
// It is false without a starter, as are the next two.
func (s *starter) crashed() bool {
	return s != nil && s.keeps && s.start.Takeovers > 0 && !s.start.Planned
}

// upgrades tells whether this process takes over from one that serves meanwhile.
func (s *starter) upgrades() bool { return s != nil && s.keeps && s.start.Planned }

// takesOver tells whether another process has served the mount, or still does.
func (s *starter) takesOver() bool { return s.crashed() || s.upgrades() }

// handsOver is closed when another process is to serve, never without a starter.
func (s *starter) handsOver() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.handOver
}

// mount has the starter mount, and returns what it mounted. The source's region is
// for the processes that take over from this one.
func (s *starter) mount(region string) (*weightfs.Attachment, error) {
	if !s.crashed() { // otherwise it comes unasked
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

// prepared tells a keeper that this process can take over, and returns when the one
// that served has ended.
func (s *starter) prepared() error {
	if err := s.link.Say(keeper.Prepared, ""); err != nil {
		return fmt.Errorf("%w: %w", errStarterGone, err)
	}
	select {
	case <-s.takeOver:
		return nil
	case <-s.handOver:
		return errStarterGone
	case sig := <-s.signals:
		return fmt.Errorf("ended by a signal: %v", sig)
	}
}

// refuse tells a keeper why this process does not take over.
func (s *starter) refuse(why error) {
	if s.upgrades() {
		_ = s.link.Say(keeper.Refused, why.Error()) // it goes anyway
	}
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
