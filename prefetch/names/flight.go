package names

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"weightfs/remote"
)

// flight is a question to the store under way, for the pages of a listing or for
// one name, and those that wait for it. Fields not said to be guarded do not change,
// or are set before done is closed.
type flight struct {
	what   string // for errors
	ctx    context.Context
	cancel context.CancelFunc
	first  chan struct{} // closed when the first page has come, or at the end
	done   chan struct{} // closed at the end

	since    time.Time // guarded by Cache.mu; of the last page, or the beginning
	paged    bool      // guarded by Cache.mu; a page has come
	waiting  int       // guarded by Cache.mu; callers
	readers  int       // guarded by Cache.mu; those that need every page
	outdated bool      // guarded by Cache.mu; begun before an Invalidate
	ahead    bool      // nobody has asked for it
	over     bool      // guarded by Cache.mu
	silent   bool      // given up because nothing came
	detach   func()    // takes it from its folder; with Cache.mu held

	listing *Listing  // the outcome, or
	answer  *Answer   // that for one name, or
	err     error     // the failure
	late    time.Time // when half of the time was over in which nothing came

	trouble atomic.Pointer[error] // why the last attempt failed; nil if none did
}

// begin makes a flight. The caller holds mu.
func (c *Cache) begin(what string, detach func()) *flight {
	fl := &flight{what: what, since: time.Now(), detach: detach, first: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(c.ctx)
	fl.ctx = remote.WithTrouble(ctx, func(cause error) { fl.trouble.Store(&cause) })
	fl.cancel = cancel
	return fl
}

// end ends a flight, if it is not over. The caller holds mu.
func (c *Cache) end(fl *flight, err error) {
	if fl.over {
		return
	}
	now := time.Now()
	fl.over, fl.late = true, fl.since.Add(now.Sub(fl.since)/2)
	if err != nil {
		fl.err = fmt.Errorf("%s: %w", fl.what, err)
	}
	if fl.ahead {
		c.ahead--
	}
	fl.detach()
	fl.cancel()
	fl.closeFirst()
	close(fl.done)
}

// closeFirst tells that the first page has come. The caller holds mu.
func (fl *flight) closeFirst() {
	select {
	case <-fl.first:
	default:
		close(fl.first)
	}
}

// await waits for ready to be closed. It ends early with ctx, or when nothing has
// come for the read time-out: since the last page, or since the caller came. The
// caller is already counted in waiting. again says that it asks anew.
func (c *Cache) await(ctx context.Context, fl *flight, ready <-chan struct{}, came time.Time) (again bool, err error) {
	timer := time.NewTimer(c.wait - time.Since(came))
	defer timer.Stop()
	for {
		select {
		case <-ready:
			c.mu.Lock()
			defer c.mu.Unlock()
			fl.waiting--
			return c.asksAgain(fl, came), fl.err
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			fl.waiting--
			return false, fmt.Errorf("%s: %w", fl.what, ctx.Err())
		case <-timer.C:
			left, err := c.timeOut(fl, came)
			if err != nil {
				return false, err
			}
			timer.Reset(left)
		}
	}
}

// timeOut is called when a caller's time may be over. It returns how much is left,
// or the error. The flight ends too if it was silent for the whole time-out, or if
// nobody else waits for it: its request may stay silent for minutes after the store
// has come back.
func (c *Cache) timeOut(fl *flight, came time.Time) (left time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := c.left(fl, came); left > 0 {
		return left, nil
	}
	fl.waiting--
	err = c.silence(fl)
	if fl.waiting == 0 || time.Since(fl.since) >= c.wait {
		c.giveUp(fl)
	}
	return 0, fmt.Errorf("%s: %w", fl.what, err)
}

// left is how much longer a caller that came then waits. The caller holds mu.
func (c *Cache) left(fl *flight, came time.Time) time.Duration {
	if fl.paged && fl.since.After(came) {
		came = fl.since
	}
	return c.wait - time.Since(came)
}

// silence is the error of a flight of which nothing comes.
func (c *Cache) silence(fl *flight) error {
	err := fmt.Errorf("no answer within %v: %w", c.wait, os.ErrDeadlineExceeded)
	if trouble := fl.trouble.Load(); trouble != nil {
		err = fmt.Errorf("%w: %w", err, *trouble)
	}
	return err
}

// giveUp ends a flight for its silence. The caller holds mu.
func (c *Cache) giveUp(fl *flight) {
	fl.silent = fl.silent || !fl.over
	c.end(fl, c.silence(fl))
}

// underWay tells whether fl, which may be nil, can be joined. It gives up a flight
// that was silent for the whole read time-out. The caller holds mu.
func (c *Cache) underWay(fl *flight) bool {
	if fl != nil && time.Since(fl.since) >= c.wait {
		c.giveUp(fl)
		return false
	}
	return fl != nil
}

// asksAgain tells whether a caller that came then asks anew after a flight has
// failed. After silence, every caller with time left does. After an error of the
// store, those do that came in the second half of the wait for it: they have hardly
// waited, and the store may be back. A missing directory is missing for all. The
// caller holds mu.
func (c *Cache) asksAgain(fl *flight, came time.Time) bool {
	switch {
	case fl.err == nil || notExist(fl.err):
		return false
	case fl.silent:
		return c.left(fl, came) > 0
	}
	return came.After(fl.late)
}

// answerOf returns what a flight says of name. ok is false if it says nothing: it
// brought a page without that name, or is outdated.
func (c *Cache) answerOf(fl *flight, name string) (answer Answer, ok, outdated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case fl.outdated:
		return Answer{}, false, true
	case fl.answer != nil:
		return *fl.answer, true, false
	case fl.listing != nil:
		return fl.listing.answer(name), true, false
	}
	return Answer{}, false, false
}
