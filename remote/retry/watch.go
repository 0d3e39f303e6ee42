package retry

import (
	"context"
	"errors"
	"sync"
	"time"
)

// watchTicks is how many ticks a wait is counted in.
const watchTicks = 4

// watch is the context of one attempt, cancelled when a wait within it lasts
// too long. It belongs to the goroutine that makes the attempt.
//
// Waits are counted in ticks, and one that comes late counts once: of the time
// in which this process did not run, stopped or short of a processor, nobody
// can say whether bytes came. They lie in the socket, and would be fetched again.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	armed bool
	tick  time.Duration // the length of each
	last  time.Time     // when the last tick was counted, or the wait began
	ticks int           // of this wait so far
}

func newWatch(ctx context.Context) *watch {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w
}

// arm starts a wait of at most d.
func (w *watch) arm(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.tick, w.last, w.ticks = true, d/watchTicks, time.Now(), 0
	if w.timer == nil {
		w.timer = time.AfterFunc(w.tick, w.onTick)
		return
	}
	w.timer.Reset(w.tick)
}

// onTick counts a tick, and ends the attempt at the last.
func (w *watch) onTick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.armed || now.Sub(w.last) < w.tick {
		return // of an earlier wait, which ended as the timer fired
	}
	w.ticks++
	w.last = now
	if w.ticks == watchTicks {
		w.cancel(ErrStalled)
		return
	}
	w.timer.Reset(w.tick)
}

// disarm ends the wait and returns how long it was, as it is counted.
func (w *watch) disarm() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.timer.Stop()
	return time.Duration(w.ticks)*w.tick + min(time.Since(w.last), w.tick)
}

// fired reports whether a wait lasted too long.
func (w *watch) fired() bool { return errors.Is(context.Cause(w.ctx), ErrStalled) }

// stop releases the context; a body read under it ends.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel(context.Canceled)
}
