package prefetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"weightfs/remote"
)

// errUnwanted cancels a flight that nobody waits for any more.
var errUnwanted = errors.New("fetch no longer wanted")

// flight is one GET: the only writer of the chunks of [lo, hi) that it claimed.
// It belongs to the cache, not to the read that caused it. All but the memory
// it fills is guarded by the cache's lock.
type flight struct {
	file    *file
	lo, hi  int64
	blocks  []*block // those that [lo, hi) touches
	demand  bool     // a reader waited for it when it was made
	pos     int64    // up to here the bytes landed
	ctx     context.Context
	cancel  context.CancelCauseFunc
	began   time.Time // its GET
	since   time.Time // of the last byte, or of the beginning
	trouble error     // of the last attempt that the store repeated
}

// block is the block that holds offset off of the object.
func (fl *flight) block(off int64) *block {
	return fl.blocks[off/blockSize-fl.lo/blockSize]
}

// awaited says whether a reader waits for bytes that are still to land.
func (fl *flight) awaited() bool {
	return slices.ContainsFunc(fl.file.waiters, func(v *View) bool {
		return v.off < fl.hi && v.end() > fl.pos
	})
}

// run fetches the flight's bytes. It is the body of a goroutine that the
// cache's Close joins.
func (c *Cache) run(fl *flight) {
	defer c.goroutines.Done()
	err := c.transfer(fl)
	if err != nil && context.Cause(fl.ctx) != nil {
		err = context.Cause(fl.ctx)
	}
	fl.cancel(nil)
	c.mu.Lock()
	defer c.unlock()
	c.land(fl, err)
}

// transfer streams the object's bytes straight into the blocks.
func (c *Cache) transfer(fl *flight) error {
	ctx := remote.WithTrouble(fl.ctx, func(cause error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		fl.trouble = cause
	})
	body, err := c.store.OpenRange(ctx, fl.file.obj, fl.lo, fl.hi-fl.lo)
	if err != nil {
		return err
	}
	defer body.Close()
	for pos := fl.lo; pos < fl.hi; {
		memory := c.arena.bytes(fl.block(pos).slot)
		base := roundDown(pos, blockSize)
		n, err := body.Read(memory[pos-base : min(fl.hi-base, blockSize)])
		pos += int64(n)
		if n > 0 {
			c.advance(fl, pos)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && pos == fl.hi:
		case errors.Is(err, io.EOF):
			return fmt.Errorf("read %s [%d,%d): body ended at %d: %w", fl.file.obj.Key, fl.lo, fl.hi, pos, io.ErrUnexpectedEOF)
		default:
			return err
		}
	}
	return nil
}

// advance makes the bytes up to pos readable, chunk by chunk.
func (c *Cache) advance(fl *flight, pos int64) {
	if pos < fl.hi && pos/chunkSize == fl.pos/chunkSize {
		return
	}
	c.mu.Lock()
	defer c.unlock()
	now := pos
	if pos < fl.hi {
		now = roundDown(pos, chunkSize)
	}
	for off := fl.pos; off < now; {
		b := fl.block(off)
		base := roundDown(off, blockSize)
		upto := min(now, base+blockSize)
		landed := chunksTouching(off-base, upto-base)
		b.have |= landed
		b.claimed &^= landed
		if upto == min(fl.hi, base+blockSize) {
			c.release(b, &b.writers)
		}
		off = upto
	}
	c.stats.FetchedBytes += now - fl.pos
	c.clock += uint64(now - fl.pos)
	fl.since = c.now()
	c.connections.Carried(c.limit.landed(now-fl.pos, fl.since))
	fl.pos = now
	c.wake(fl.file, nil)
}

// tire ends the flights of a file for which a view has waited too long. All that
// brought nothing in the second half of its wait are made anew for who still
// waits for them, and those that it waited for end if nobody else does: the next
// who asks shall not get a flight that hangs, or sleeps between two attempts. It
// returns the last trouble of those it waited for.
func (c *Cache) tire(v *View) error {
	var trouble error
	now := c.now()
	late := halfway(v.began, now)
	for _, fl := range slices.Clone(v.file.flights) {
		mine := v.off < fl.hi && v.end() > fl.pos
		if mine && fl.trouble != nil {
			trouble = fl.trouble
		}
		if fl.since.Before(late) || mine && !fl.awaited() {
			c.cancel(fl)
		}
	}
	return trouble
}

// land ends a flight: what it did not fetch is nobody's again, and those who
// wait for it learn why, unless they came late. One that was cancelled, or that
// latecomers wait for, is made anew by the first of them.
func (c *Cache) land(fl *flight, err error) {
	if c.active--; c.active == 0 {
		c.becameCalm()
	}
	f := fl.file
	f.flights = slices.DeleteFunc(f.flights, func(other *flight) bool { return other == fl })
	if err == nil {
		c.connections.Fetched(fl.hi-fl.lo, c.now().Sub(fl.began))
	}
	missed := &failure{lo: fl.pos, hi: fl.hi, err: err, late: halfway(fl.began, c.now())}
	c.abandon(fl)
	if err != nil && !errors.Is(err, errUnwanted) {
		c.stats.Failures++
		f.cursors.calm()
		c.wake(f, missed)
	}
	c.demandAgain(f)
	c.forgetIfUnused(f)
}

// abandon gives the chunks that did not land back.
func (c *Cache) abandon(fl *flight) {
	for off := fl.pos; off < fl.hi; {
		b := fl.block(off)
		base := roundDown(off, blockSize)
		upto := min(fl.hi, base+blockSize)
		b.claimed &^= chunksTouching(off-base, upto-base)
		c.release(b, &b.writers)
		off = upto
	}
	fl.pos = fl.hi
}

// setBack remembers that the view's wait ended with err.
func (c *Cache) setBack(v *View, err error) {
	v.file.setbacks.add(v.off, v.end(), err, v.began, c.now())
}

// failure is what a flight tells those who wait for [lo, hi).
type failure struct {
	lo, hi int64
	err    error
	late   time.Time // who came later gets a flight of his own
}

// hits tells whether the view's wait ends with the failure. One that began when
// the flight had spent half of its attempts does not: the store may be back, and
// the reader has hardly waited. That a version is gone is true for all.
func (f *failure) hits(v *View) bool {
	touches := v.off < f.hi && v.end() > f.lo
	return touches && (!v.began.After(f.late) || errors.Is(f.err, remote.ErrChanged))
}

// wake ends the waits whose bytes are all there, or that the failure hits.
func (c *Cache) wake(f *file, failed *failure) {
	f.waiters = slices.DeleteFunc(f.waiters, func(v *View) bool {
		if f.present(v.off, v.end()) {
			close(v.ready)
			return true
		}
		if failed != nil && failed.hits(v) {
			v.err = failed.err
			c.setBack(v, v.err)
			close(v.ready)
			return true
		}
		return false
	})
}
