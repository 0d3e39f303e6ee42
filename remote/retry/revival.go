package retry

import (
	"context"
	"sync"
	"time"
)

// silence is how long nothing may have been answered for an answer to be news:
// longer than the pause between two answers of a store that lives.
const silence = time.Second

// revival tells requests that sleep between two attempts that a store which had
// answered nobody answers again: after an outage of 10 s each would sleep for up
// to another 13, of which most are spared all but the first to wake. It is safe
// for concurrent use.
type revival struct {
	mu    sync.Mutex
	last  time.Time     // of an answer; guarded by mu
	again chan struct{} // closed at the end of a silence; nil while nobody waits; guarded by mu
}

// answered notes that the store has answered something.
func (r *revival) answered(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	silent := now.Sub(r.last) >= silence
	r.last = now
	if silent && r.again != nil {
		close(r.again)
		r.again = nil
	}
}

// end is closed at the end of the silence.
func (r *revival) end() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again == nil {
		r.again = make(chan struct{})
	}
	return r.again
}

// sleep waits for d, for early, which may be nil, or for ctx.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-early:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
