package keeper

import (
	"errors"
	"fmt"
	"time"
)

// An upgrade has a worker of another program take over from one that is well. That
// one serves until the other is prepared: it has started, its source is open, and it
// understands what it will take over. Until then all can be taken back, and after it
// too: a worker that dies before it serves is followed by one of the last program.
//
//	next: SourceIsOpen -> keeper: the mount -> next: Prepared -> keeper: HandOver to
//	the worker, which ends -> TakeOver to next -> next: MountAnswers

const (
	// prepareLimit is how long another program may take to be prepared.
	prepareLimit = 2 * time.Minute
	// handOverLimit is how long a worker may take to end when it is told to. It then
	// dies as by a crash.
	handOverLimit = 5 * time.Second
)

var (
	// ErrBusy says that another upgrade is under way, or no worker serves yet.
	ErrBusy = errors.New("another upgrade is under way, or the mount does not answer yet")

	errEnded = errors.New("the mount ends")
	errDied  = errors.New("the process that served died before the new one was prepared")
	errFell  = errors.New("the new process died when it took over")
)

// Upgrade asks for workers of another program, from now on, or has another keeper take
// the mount over, whose worker it starts: see Config.Claim.
type Upgrade struct {
	Worker Command
	// Peer is the link to another keeper; nil: there is none, and Worker is needed. It
	// is told by TakeOver or Refused what came of it, and is closed.
	Peer *Link
	// Done is called once, when another worker serves, or that has failed: the last
	// program serves on then.
	Done func(Upgraded)
}

// refuse tells another keeper why it does not get the mount.
func (u Upgrade) refuse(why error) {
	if u.Peer != nil {
		_ = u.Peer.Say(Refused, why.Error()) // it may be gone
	}
}

// reject ends an upgrade that was not begun.
func (u Upgrade) reject(why error) {
	u.refuse(why)
	if u.Peer != nil {
		_ = u.Peer.Close()
	}
	u.Done(Upgraded{Err: why})
}

// Upgraded is how an upgrade ended.
type Upgraded struct {
	Err   error
	PID   int           // of the worker that serves
	Pause time.Duration // from the last word to the last worker to the first of this one
}

// successor is a worker that is to take over from one that lives. The nil successor
// is heard of by nobody.
type successor struct {
	*worker
	Upgrade
	late *time.Timer
	told time.Time // when the one before it was told to end; zero before
}

func (s *successor) hears() <-chan said {
	if s == nil || s.gone() {
		return nil
	}
	return s.heard
}

// gone tells whether it has taken over, and is heard as who serves.
func (s *successor) gone() bool { return s.late == nil }

func (s *successor) isLate() <-chan time.Time {
	if s == nil || s.gone() {
		return nil
	}
	return s.late.C
}

func (k *keeper) beginUpgrade(u Upgrade) {
	if !k.answered || k.stopping || k.next != nil {
		u.reject(ErrBusy)
		return
	}
	w, err := k.runNext(u)
	if err != nil {
		u.reject(err)
		return
	}
	k.next = &successor{worker: w, Upgrade: u, late: time.NewTimer(prepareLimit)}
}

// runNext starts the worker of an upgrade, or hears another keeper in its place.
func (k *keeper) runNext(u Upgrade) (*worker, error) {
	if u.Peer != nil {
		k.Logger.Info("another mountd is to take the mount over")
		w := newWorker(u.Peer)
		go func() {
			w.hear()
			close(w.reaped)
			w.noteDeath()
		}()
		return w, nil
	}
	start := k.start
	start.Planned = true
	w, err := k.run(u.Worker, start)
	if err == nil {
		k.Logger.Info("an upgrade is prepared", "pid", w.cmd.Process.Pid)
	}
	return w, err
}

// drop ends a worker that is not needed.
func (w *worker) drop() {
	if w.cmd != nil {
		_ = w.cmd.Process.Kill() // it may have ended
	} else {
		w.noteDeath()
		_ = w.link.Close()
	}
	<-w.reaped
	_ = w.link.Close()
}

// heardNext does what the successor of worker w asks for. Where ok is false it is
// heard no more.
func (k *keeper) heardNext(w *worker, m said, ok bool) {
	next := k.next
	switch {
	case !ok:
		<-next.reaped
		state := "it was another mountd"
		if next.cmd != nil {
			state = next.cmd.ProcessState.String()
		}
		k.cancelUpgrade(fmt.Errorf("the new process ended before it was prepared: %s", state))
	case m.what == Refused:
		k.cancelUpgrade(errors.New(m.text))
	case m.what == SourceIsOpen:
		_ = next.link.Pass(k.mount) // one that has died meanwhile is seen to have
	case m.what == Prepared:
		next.told = time.Now()
		next.late.Reset(handOverLimit)
		_ = w.link.Say(HandOver, "") // if it is dead, the better
	}
}

// nextIsLate ends who takes too long: the successor, or the worker before it.
func (k *keeper) nextIsLate(w *worker) {
	if k.next.told.IsZero() {
		k.cancelUpgrade(fmt.Errorf("the new process was not prepared within %v", prepareLimit))
		return
	}
	k.Logger.Error("the process that was to hand the mount over hangs, and is killed", "pid", w.cmd.Process.Pid)
	_ = w.cmd.Process.Kill()
}

// takeOver has the successor of w, which is dead, take over if it is prepared, and
// returns it.
func (k *keeper) takeOver(w *worker) *worker {
	next := k.next
	if next == nil {
		return nil
	}
	if next.gone() {
		k.cancelUpgrade(errFell)
		return nil
	}
	if next.told.IsZero() {
		k.cancelUpgrade(errDied)
		return nil
	}
	next.late.Stop()
	next.late = nil
	go func() {
		<-w.reaped
		_ = w.link.Close()
	}()
	if err := next.link.Say(TakeOver, ""); next.cmd != nil {
		return next.worker // one that has died meanwhile is seen to have
	} else if err != nil {
		next.late = time.NewTimer(0) // or it would pass for the one that serves
		k.cancelUpgrade(err)
		return nil
	}
	k.next, k.gaveAway = nil, true
	next.drop()
	next.Done(Upgraded{})
	return nil
}

// upgraded notes that a worker serves, by which an upgrade may be complete.
func (k *keeper) upgraded(w *worker) {
	next := k.next
	if next == nil || next.worker != w {
		return
	}
	k.next = nil
	k.Worker = next.Worker
	k.start.Upgrades++
	k.deaths = 0
	pause := time.Since(next.told)
	k.Logger.Info("upgraded", "pid", w.cmd.Process.Pid, "pause", pause.Round(time.Microsecond))
	next.Done(Upgraded{PID: w.cmd.Process.Pid, Pause: pause})
}

// cancelUpgrade ends an upgrade that is under way, and its worker unless that is the
// one that serves.
func (k *keeper) cancelUpgrade(why error) {
	next := k.next
	if next == nil {
		return
	}
	k.next = nil
	if !next.gone() {
		next.late.Stop()
		next.refuse(why)
		next.drop()
	}
	k.Logger.Error("the upgrade has failed: the program that served serves on", "err", why)
	next.Done(Upgraded{Err: why})
}
