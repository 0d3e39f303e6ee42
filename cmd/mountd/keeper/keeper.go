// Package keeper holds a mount while the processes that serve it come and go.
//
// The keeper is the process that a user starts. It has the mount's descriptor and
// its state ([fs.Attachment.Keep]) open, starts a worker, which is the same program
// once more, and serves nothing by itself: no network, no cache, nothing that grows.
// When the worker dies it starts another, which goes on where that one was; readers
// wait a moment. When the mount has ended, the worker says so and its exit code is
// the keeper's. An [Upgrade] has a worker of another program take over from one that
// is well (upgrade.go).
//
// If the keeper dies, the worker unmounts, as at SIGTERM, unless somebody else holds
// the mount too, from whom the next keeper inherits it. Signals are the keeper's,
// and it passes them on.
package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"weightfs/fs"
)

const (
	// maxDeaths is how many workers in a row may die early. The mount is then given
	// up: a reader that waits for it would wait for ever.
	maxDeaths = 10
	// earlyDeath is how soon after it began to serve.
	earlyDeath = time.Second
	// The pause before another start, which doubles with each early death.
	firstPause, longestPause = 5 * time.Millisecond, time.Second
	// startLimit is how long a worker may take to serve what it takes over.
	startLimit = time.Minute
)

// ErrGivenUp says that worker after worker has died, so that the mount was ended.
var ErrGivenUp = errors.New("given up")

// Start says what a worker is started for.
type Start struct {
	// Takeovers and Upgrades are how often another took over before: the first
	// worker has neither.
	Takeovers, Upgrades int
	// Planned says that the one before it still serves, and will until this one is
	// prepared: an upgrade.
	Planned bool
	// Held says that the mount outlives the keeper, by whom somebody else has it open:
	// without a keeper, the worker ends and leaves the mount as it is.
	Held bool
	// Source is what the last one said with [SourceIsOpen].
	Source string
}

// Command makes the command of a worker, whose descriptor 3 will be its end of a
// [Link].
type Command func(Start) *exec.Cmd

// ErrGivenAway says that another keeper has the mount.
var ErrGivenAway = errors.New("another mountd has taken the mount over")

// Config says what is kept, and how. Those behind Logger are not needed.
type Config struct {
	Worker Command
	// Mount makes the mount, when the first worker has opened the source.
	Mount func() (*fs.Attachment, error)
	// Answers is called once, when the first worker answers.
	Answers func() error
	// Signals end the mount; each is passed on.
	Signals <-chan os.Signal
	Logger  *slog.Logger
	// Stopping is called at the first of Signals, if not nil.
	Stopping func()
	// Upgrades are carried out one after the other.
	Upgrades <-chan Upgrade
	// Kept is called when the mount was made and its state is kept, if not nil, with
	// what is known of the source. Its error is one of the start; with Claim, it is
	// called when the mount is ours and readers wait, and its error is logged.
	Kept func(mount *fs.Attachment, source string) error
	// Inherited is a mount that another keeper kept, whose workers are gone; nil: there
	// is none, and Mount makes one. Start is what its next worker is started for.
	Inherited *fs.Attachment
	Start     Start
	// Claim is for a mount that another keeper holds, which Mount asks it for, and a
	// Start that is Planned. It is called when the first worker is prepared, and returns
	// when that keeper's worker has ended. Before it returns nil the mount is not ours.
	Claim func() error
}

// keeper is a running Config.
type keeper struct {
	Config
	mount    *fs.Attachment // nil before it was made
	answered bool
	stopping bool
	start    Start      // of the next worker
	deaths   int        // early ones in a row
	next     *successor // nil: nobody is to take over from a worker that lives
	claimed  bool       // see Claim
	gaveAway bool       // the mount is another keeper's
}

// Run keeps the mount until it has ended, and returns the exit code of the worker
// that ended it. A worker has said why; an error is what no worker could say, or
// ErrGivenAway.
func Run(cfg Config) (code int, err error) {
	k := &keeper{Config: cfg, mount: cfg.Inherited, start: cfg.Start}
	defer func() {
		if k.mount != nil {
			failed := err != nil || code != 0
			err = errors.Join(err, k.end(failed && !k.gaveAway && (k.Claim == nil || k.claimed)))
		}
	}()
	w, err := k.run(k.Worker, k.start)
	for err == nil {
		if ended, failed := k.follow(w); ended || failed != nil {
			k.cancelUpgrade(errEnded)
			_ = w.link.Close() // one that waits for us ends
			<-w.reaped
			return w.cmd.ProcessState.ExitCode(), failed
		}
		w, err = k.after(w)
	}
	if errors.Is(err, ErrGivenAway) {
		return 0, err
	}
	return 1, err
}

// after is the worker that comes after one that is dead: the one that is prepared
// for that, or a fresh one.
func (k *keeper) after(w *worker) (*worker, error) {
	if next := k.takeOver(w); next != nil {
		return next, nil
	}
	if k.gaveAway {
		return nil, ErrGivenAway
	}
	if err := k.died(w); err != nil {
		return nil, err
	}
	return k.run(k.Worker, k.start)
}

// end gives up the descriptors, and takes the mount away where no worker has.
func (k *keeper) end(failed bool) error {
	var err error
	if failed {
		err = k.mount.Detach()
	}
	return errors.Join(err, k.mount.Close())
}

// worker is a process that serves, or is about to.
type worker struct {
	cmd    *exec.Cmd
	link   *Link
	heard  chan said     // closed when nothing more will be heard
	dead   chan struct{} // closed once none of its threads runs
	reaped chan struct{} // closed once it is gone, and ProcessState set
	die    sync.Once
	served time.Time // since when it serves; zero before
}

// maxSaid is how many messages wait to be listened to, also from one that is dead
// meanwhile: more than a sound worker has.
const maxSaid = 8

func newWorker(link *Link) *worker {
	return &worker{link: link, heard: make(chan said, maxSaid), dead: make(chan struct{}), reaped: make(chan struct{})}
}

type said struct {
	what byte
	text string
}

// run starts a worker. One that takes over from one that has died is sent the mount
// at once.
func (k *keeper) run(command Command, start Start) (*worker, error) {
	link, theirs, err := NewLink()
	if err != nil {
		return nil, fmt.Errorf("start a process to serve: %w", err)
	}
	defer theirs.Close()
	w := newWorker(link)
	w.cmd = command(start)
	w.cmd.ExtraFiles = []*os.File{theirs}
	if err := w.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a process to serve: %w", err), link.Close())
	}
	go w.reap()
	go w.hear()
	if k.mount != nil && !start.Planned {
		_ = link.Pass(k.mount) // one that has died meanwhile is seen to have
	}
	return w, nil
}

func (w *worker) reap() {
	_ = w.cmd.Wait() // what became of it is in ProcessState
	close(w.reaped)
	w.noteDeath()
}

func (w *worker) noteDeath() { w.die.Do(func() { close(w.dead) }) }

func (w *worker) hear() {
	defer close(w.heard)
	for {
		what, text, _, err := w.link.Hear()
		if err != nil {
			return
		}
		if len(w.heard) < maxSaid {
			w.heard <- said{what, text} // nobody else writes there: it has room
			continue
		}
		select {
		case w.heard <- said{what, text}:
		case <-w.dead:
			return
		}
	}
}

// follow looks after a worker until the mount has ended, or the worker is dead.
func (k *keeper) follow(w *worker) (ended bool, err error) {
	late := time.NewTimer(startLimit)
	defer late.Stop()
	if k.mount == nil {
		late.Stop() // it says by itself what it waits for
	}
	if k.stopping {
		_ = w.link.Say(Terminate, "") // the last one was told so
	}
	heard := w.heard
	for {
		select {
		case m, ok := <-heard:
			if !ok {
				heard = nil
				continue
			}
			if m.what == MountEnded {
				_ = w.link.Say(Understood, "") // it goes anyway
				return true, nil
			}
			if m.what == MountAnswers {
				late.Stop()
			}
			if err := k.heard(w, m); err != nil {
				return false, err
			}
			if m.what == Prepared {
				late.Reset(startLimit) // readers wait from now on
			}
		case sig := <-k.Signals:
			k.stop(w, sig)
		case u := <-k.Upgrades:
			k.beginUpgrade(u)
		case m, ok := <-k.next.hears():
			k.heardNext(w, m, ok)
		case <-k.next.isLate():
			k.nextIsLate(w)
		case <-late.C:
			k.Logger.Error("a process that was to take the mount over hangs, and is killed", "pid", w.cmd.Process.Pid)
			_ = w.cmd.Process.Kill()
		case <-w.dead:
			return !k.served(), k.startFailed(w)
		}
	}
}

// served tells whether somebody may wait for the mount: it has answered once.
func (k *keeper) served() bool { return k.answered || k.claimed || k.Inherited != nil }

// startFailed is the error of a first worker that ended before its mount answered,
// without a word of its own.
func (k *keeper) startFailed(w *worker) error {
	if k.served() {
		return nil
	}
	<-w.reaped
	if w.cmd.ProcessState.ExitCode() > 0 {
		return nil
	}
	return fmt.Errorf("the process that was to serve ended before the mount answered: %v", w.cmd.ProcessState)
}

// heard does what a worker asks for.
func (k *keeper) heard(w *worker, m said) error {
	switch {
	case m.what == SourceIsOpen && k.mount == nil:
		mount, err := k.Mount()
		if err != nil {
			return err
		}
		k.mount, k.start.Source = mount, m.text
		if err := mount.Keep(); err != nil {
			return err
		}
		if k.Claim == nil {
			if err := k.keptFrom(m.text); err != nil {
				return err
			}
		}
		_ = w.link.Pass(mount) // one that has died meanwhile is seen to have
	case m.what == Prepared && k.Claim != nil && !k.claimed:
		return k.claim(w)
	case m.what == MountAnswers:
		w.served = time.Now()
		go func() {
			if awaitDying(w.cmd.Process.Pid, m.text) {
				w.noteDeath()
			}
		}()
		if k.answered {
			k.upgraded(w)
			return nil
		}
		k.answered = true
		return k.Answers()
	}
	return nil
}

// claim has a worker serve what another keeper has held until now. Only then may
// others hold it for us, from whom the next keeper would inherit it.
func (k *keeper) claim(w *worker) error {
	if err := k.Claim(); err != nil {
		return err
	}
	k.claimed, k.start.Planned = true, false
	k.start.Upgrades++
	_ = w.link.Say(TakeOver, "") // one that has died meanwhile is seen to have
	if err := k.keptFrom(k.start.Source); err != nil {
		k.Logger.Error("nobody else holds the mount", "err", err)
	}
	return nil
}

// keptFrom says that the mount is kept, and what is known of its source.
func (k *keeper) keptFrom(source string) error {
	if k.Kept == nil {
		return nil
	}
	return k.Kept(k.mount, source)
}

// stop passes a signal on.
func (k *keeper) stop(w *worker, sig os.Signal) {
	if !k.stopping && k.Stopping != nil {
		k.Stopping()
	}
	k.stopping = true
	k.cancelUpgrade(errEnded)
	k.Logger.Debug("passing a signal on", "signal", sig.String(), "pid", w.cmd.Process.Pid)
	_ = w.link.Say(Terminate, "") // if it is dead, so is the mount soon: see follow
}

// died notes the death of a worker, and pauses if too many die.
func (k *keeper) died(w *worker) error {
	lived := time.Duration(0)
	if !w.served.IsZero() {
		lived = time.Since(w.served)
	}
	k.start.Takeovers++
	k.deaths++
	if lived >= earlyDeath {
		k.deaths = 0
	}
	k.Logger.Error("the process that serves has died: another takes over", "pid", w.cmd.Process.Pid,
		"served", lived.Round(time.Millisecond), "in_a_row", max(k.deaths, 1), "takeover", k.start.Takeovers)
	go func() {
		<-w.reaped
		k.Logger.Error("how the process that served has died", "pid", w.cmd.Process.Pid, "cause", w.cmd.ProcessState.String())
		_ = w.link.Close()
	}()
	if k.deaths >= maxDeaths {
		<-w.reaped
		return fmt.Errorf("%d processes that served died one after the other, the last by: %v: %w", k.deaths, w.cmd.ProcessState, ErrGivenUp)
	}
	if k.deaths > 1 {
		time.Sleep(min(firstPause<<(k.deaths-2), longestPause))
	}
	return nil
}
