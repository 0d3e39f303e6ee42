package prefetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/remote"
)

// errUnwanted cancels a flight that nobody waits for any more.
var errUnwanted = errors.New("fetch no longer wanted")

// flight is one GET: the only writer of the bytes that it claimed. It belongs to
// the cache, not to the read that caused it.
type flight struct {
	object *object
	demand bool // a reader waited for it when it was made
	blocks int  // that it holds
	ctx    context.Context
	cancel context.CancelCauseFunc
	began  time.Time // its GET; set before it runs

	pos     atomic.Int64          // up to here the bytes landed
	first   atomic.Int64          // when the first byte came; 0: not yet. In nanoseconds, as all times here
	heard   atomic.Int64          // when the last byte came, or when it was made
	next    atomic.Int64          // the least need of the waiters
	trouble atomic.Pointer[error] // of the last attempt that the store repeated

	waiters []waiter // by their need; guarded by the object's lock

	mu      sync.Mutex   // between the object's lock and the arena's
	claim   *arena.Claim // its end is moved with mu and the object's lock held
	writing int64        // up to here memory is being written; guarded by mu
}

// waiter is a view that waits for a flight's bytes up to need.
type waiter struct {
	view *View
	need int64
}

// newFlight makes the flight of a claim. The object's lock is held.
func (o *object) newFlight(claim *arena.Claim, demand bool) *flight {
	fl := &flight{object: o, claim: claim, demand: demand, blocks: claim.Blocks()}
	fl.ctx, fl.cancel = context.WithCancelCause(o.cache.ctx)
	fl.pos.Store(claim.Lo)
	fl.next.Store(math.MaxInt64)
	fl.heard.Store(o.cache.now().UnixNano())
	o.flights = append(o.flights, fl)
	o.users.Add(1)
	return fl
}

// awaited says whether a reader waits for bytes that are still to land.
func (fl *flight) awaited() bool { return fl.next.Load() != math.MaxInt64 }

// addWaiter has the view wait for the bytes up to need; false says that they have
// landed. The object's lock is held.
func (fl *flight) addWaiter(v *View, need int64) bool {
	if fl.pos.Load() >= need {
		return false
	}
	i, _ := slices.BinarySearchFunc(fl.waiters, need, func(w waiter, need int64) int { return cmp.Compare(w.need, need) })
	fl.waiters = slices.Insert(fl.waiters, i, waiter{v, need})
	fl.next.Store(fl.waiters[0].need)
	// They may have landed before the flight saw that somebody waits.
	if fl.pos.Load() >= need {
		fl.removeWaiter(v)
		return false
	}
	return true
}

// removeWaiter ends a view's wait for the flight. The object's lock is held.
func (fl *flight) removeWaiter(v *View) {
	if len(fl.waiters) > 0 {
		fl.waiters = slices.DeleteFunc(fl.waiters, func(w waiter) bool { return w.view == v })
		fl.setNext()
	}
}

// serve ends the waits for what landed. The object's lock is held.
func (fl *flight) serve() {
	pos := fl.pos.Load()
	for len(fl.waiters) > 0 && fl.waiters[0].need <= pos {
		v := fl.waiters[0].view
		fl.waiters = fl.waiters[1:]
		if v.pending--; v.pending == 0 {
			v.finish(nil)
		}
	}
	fl.setNext()
}

func (fl *flight) setNext() {
	if len(fl.waiters) == 0 {
		fl.next.Store(math.MaxInt64)
	} else {
		fl.next.Store(fl.waiters[0].need)
	}
}

// buffer is the memory that the flight writes next, from pos on; nil at its end.
func (fl *flight) buffer(pos int64) []byte {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if pos >= fl.claim.Hi {
		return nil
	}
	memory := fl.object.cache.arena.Memory(fl.claim, pos)
	fl.writing = pos + int64(len(memory))
	return memory
}

// end is where the flight ends.
func (fl *flight) end() int64 {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.claim.Hi
}

// cut ends the flight at an offset and returns the claim of the rest, unless that
// is being written. The object's lock is held.
func (fl *flight) cut(at int64) (*arena.Claim, bool) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if at <= max(fl.writing, fl.claim.Lo) {
		return nil, false
	}
	return fl.object.cache.arena.Split(fl.claim, at), true
}

// fly fetches the flight's bytes. It is the body of a goroutine that the cache's
// Close joins.
func (c *Cache) fly(fl *flight) {
	defer c.goroutines.Done()
	began := c.now()
	c.gets.begin(began)
	c.unanswered.begin(began)
	err := c.transfer(fl)
	c.gets.end(c.now())
	if fl.first.Load() == 0 {
		c.unanswered.end(c.now())
	}
	if err != nil && context.Cause(fl.ctx) != nil {
		err = context.Cause(fl.ctx)
	}
	fl.cancel(nil)
	c.finish(fl, err)
	c.scheduler.ended(fl, err)
}

// transfer streams the object's bytes straight into the arena.
func (c *Cache) transfer(fl *flight) error {
	ctx := remote.WithTrouble(fl.ctx, func(cause error) { fl.trouble.Store(&cause) })
	lo, hi := fl.claim.Lo, fl.end()
	body, err := c.store.OpenRange(ctx, fl.object.obj, lo, hi-lo)
	if err != nil {
		return err
	}
	defer body.Close()
	pos := lo
	for memory := fl.buffer(pos); memory != nil; memory = fl.buffer(pos) {
		n, err := body.Read(memory)
		pos += int64(n)
		end := fl.end()
		if n > 0 {
			c.advance(fl, pos, end)
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && pos == end:
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read %s [%d,%d): body ended at %d: %w", fl.object.obj.Key, lo, hi, pos, io.ErrUnexpectedEOF)
		default:
			return err
		}
	}
	return nil
}

// advance makes the bytes up to pos readable, chunk by chunk.
func (c *Cache) advance(fl *flight, pos, end int64) {
	if pos < end {
		pos = roundDown(pos, arena.ChunkSize)
	}
	from := fl.pos.Load()
	now := c.now()
	if fl.first.CompareAndSwap(0, now.UnixNano()) {
		c.scheduler.answered(now.Sub(fl.began))
		c.unanswered.end(now)
	}
	if pos == from {
		return
	}
	c.arena.Land(fl.claim, from, pos)
	fl.pos.Store(pos)
	fl.heard.Store(now.UnixNano())
	c.counts.fetched.Add(pos - from)
	c.scheduler.landed(pos-from, now)
	if pos >= fl.next.Load() {
		fl.object.landed(fl)
	}
}
