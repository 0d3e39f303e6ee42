package prefetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// listFlight is a fetch under way. late, listing and err are set before done is
// closed.
type listFlight struct {
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	began   time.Time
	late    time.Time // when half of the time that it took was over
	listing *Listing
	err     error
	trouble atomic.Pointer[error] // why the last attempt failed; nil if none did

	waiting int  // guarded by Listings.mu; callers
	dropped bool // guarded by Listings.mu; nobody joins it any more
}

// join returns the fetch of dir that is under way or has just landed, or starts
// one.
func (l *Listings) join(dir string) (*listFlight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("list %q: %w", dir, fs.ErrClosed)
	}
	if flight, ok := l.flights[dir]; ok {
		flight.waiting++
		return flight, nil
	}
	if listing := l.latest(dir, time.Now()); listing != nil {
		landed := &listFlight{done: make(chan struct{}), listing: listing, cancel: func() {}, waiting: 1}
		close(landed.done)
		return landed, nil
	}
	flight := l.start(dir, func() {})
	flight.waiting++
	return flight, nil
}

// start starts the fetch of dir. The caller holds mu; landed is called at the
// end with mu held.
func (l *Listings) start(dir string, landed func()) *listFlight {
	flight := &listFlight{done: make(chan struct{}), began: time.Now()}
	flight.ctx, flight.cancel = context.WithCancel(l.ctx)
	l.flights[dir] = flight
	l.wg.Go(func() { l.fly(dir, flight, landed) })
	return flight
}

// fly fetches dir for everyone who waits at flight, and remembers it.
func (l *Listings) fly(dir string, flight *listFlight, landed func()) {
	defer flight.cancel()
	flight.listing, flight.err = l.fetch(dir, flight)
	flight.late = halfway(flight.began, time.Now())
	l.mu.Lock()
	landed()
	remember := flight.err == nil && !flight.dropped
	if l.flights[dir] == flight {
		delete(l.flights, dir)
	}
	if remember {
		l.recent[l.next] = flight.listing
		l.next = (l.next + 1) % recentListings
	}
	l.mu.Unlock()
	if remember {
		l.cached.SetWithTTL(dir, flight.listing, int64(len(flight.listing.entries)+1), max(l.ttl, 0))
	}
	close(flight.done)
}

// failedTooSoonFor tells whether a flight failed for who came when it had spent
// half of its attempts: the store may be back, and he has hardly waited. That
// there is no such directory is true for all.
func (f *listFlight) failedTooSoonFor(came time.Time) bool {
	select {
	case <-f.done:
		return f.err != nil && !errors.Is(f.err, fs.ErrNotExist) && came.After(f.late)
	default:
		return false // it was left
	}
}

// await waits for the flight until ctx ends or the time comes that the read
// time-out allows.
func (l *Listings) await(ctx context.Context, dir string, flight *listFlight, deadline <-chan time.Time) (*Listing, error) {
	select {
	case <-flight.done:
		l.leave(dir, flight, false)
		return flight.listing, flight.err
	case <-ctx.Done():
		l.leave(dir, flight, false)
		return nil, fmt.Errorf("list %q: %w", dir, ctx.Err())
	case <-deadline:
	}
	l.leave(dir, flight, true)
	err := fmt.Errorf("list %q: no answer within %v: %w", dir, l.wait, os.ErrDeadlineExceeded)
	if trouble := flight.trouble.Load(); trouble != nil {
		err = fmt.Errorf("%w: %w", err, *trouble)
	}
	return nil, err
}

// leave ends a caller's wait. A flight that somebody has tired of takes no more
// callers, and ends with the last: its request may be silent for minutes after
// the store has come back, and the next caller shall not wait for that one.
func (l *Listings) leave(dir string, flight *listFlight, tired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	flight.waiting--
	if tired {
		flight.dropped = true
		if l.flights[dir] == flight {
			delete(l.flights, dir)
		}
	}
	if flight.dropped && flight.waiting == 0 {
		flight.cancel()
	}
}
