package prefetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// View is a leased range of an object's bytes in cache memory. Its owner
// reads the slices, never writes them, and calls Release once done; until then
// the memory stays.
type View struct {
	cache  *Cache
	file   *file
	off    int64
	n      int
	cursor *cursor // the stream it belongs to
	blocks []*block
	slices [][]byte

	ready    chan struct{} // closed when the wait is over; nil on the fast path
	err      error         // why the wait failed; set before ready is closed
	began    time.Time     // of the wait
	released bool          // guarded by the cache's lock

	// The common lengths need no allocation beside the View.
	blockSpace [2]*block
	sliceSpace [2][]byte
}

func (v *View) end() int64 { return v.off + int64(v.n) }

// Slices are the bytes, in order. They are valid until Release.
func (v *View) Slices() [][]byte { return v.slices }

// Len is the number of bytes in Slices.
func (v *View) Len() int { return v.n }

// Release gives the memory back to the cache. It may be called more than once
// and from any goroutine.
func (v *View) Release() {
	c := v.cache
	if c == nil {
		return // an empty view
	}
	c.mu.Lock()
	defer c.unlock()
	if v.released {
		return
	}
	v.released = true
	v.letGo()
	if v.file.handles == 0 {
		c.forgetIfUnused(v.file)
	}
}

// letGo returns the leases. The cache's lock is held.
func (v *View) letGo() {
	for _, b := range v.blocks {
		v.cache.leases--
		v.cache.release(b, &b.leases)
	}
	v.blocks = nil
}

// View leases bytes [off, off+n) of the object, clipped at its end, and waits
// until they are there; n is at most MaxView. Only the wait belongs to ctx:
// the fetch goes on for others. Errors are ctx's, remote's, ErrClosed, or
// os.ErrDeadlineExceeded after Config.ReadTimeout.
func (r *Reader) View(ctx context.Context, off int64, n int) (*View, error) {
	f := r.file
	if off < 0 || n < 0 || n > MaxView {
		return nil, fmt.Errorf("view %s [%d,+%d): %w", f.obj.Key, off, n, os.ErrInvalid)
	}
	n = int(min(int64(n), f.obj.Size-off))
	if n <= 0 {
		return &View{}, nil
	}
	v := &View{cache: r.cache, file: f, off: off, n: n}
	if err := r.cache.lease(ctx, r, v); err != nil {
		return nil, fmt.Errorf("read %s [%d,%d): %w", f.obj.Key, off, v.end(), err)
	}
	v.fillSlices()
	return v, nil
}

// fillSlices points the view at the bytes of its leased blocks.
func (v *View) fillSlices() {
	v.slices = v.sliceSpace[:0]
	for i, b := range v.blocks {
		lo, hi := int64(0), int64(blockSize)
		if i == 0 {
			lo = v.off % blockSize
		}
		if i == len(v.blocks)-1 {
			hi = v.end() - b.index*blockSize
		}
		v.slices = append(v.slices, v.cache.arena.bytes(b.slot)[lo:hi])
	}
}

// lease gets all of a view's blocks at once, or waits holding none; then it
// waits for the bytes to land.
func (c *Cache) lease(ctx context.Context, r *Reader, v *View) error {
	landed, err := c.claim(r, v)
	if err != nil {
		return err
	}
	defer c.goroutines.Done()
	if !landed {
		if err := c.await(ctx, v); err != nil {
			return err
		}
	}
	c.advise(v)
	return nil
}

// claim leases the view's blocks if their bytes are there, and makes it a
// waiter otherwise. Without an error the caller is one of the cache's goroutines
// from then on: Close takes away the arena, which it reads, and the adviser.
func (c *Cache) claim(r *Reader, v *View) (landed bool, err error) {
	c.mu.Lock()
	defer c.unlock()
	if err := c.usable(r); err != nil {
		return false, err
	}
	c.goroutines.Add(1)
	counted := false // until the end: a panic is survived
	defer func() {
		if !counted {
			c.goroutines.Done()
		}
	}()
	if err := v.file.setbacks.find(v.off, v.end(), r.opened, c.now()); err != nil && !v.file.present(v.off, v.end()) {
		return false, err
	}
	c.follow(v)
	if c.tryLease(v) && v.file.present(v.off, v.end()) {
		c.stats.Hits++
		c.served(v)
		counted = true
		return true, nil
	}
	c.stats.Misses++
	v.began = c.now()
	v.ready = make(chan struct{})
	v.cursor.waiting++
	c.enqueue(v)
	counted = true
	return false, nil
}

// await waits until the view's bytes are there.
func (c *Cache) await(ctx context.Context, v *View) error {
	deadline := time.NewTimer(c.cfg.ReadTimeout)
	defer deadline.Stop()
	var err error
	tired := false
	select {
	case <-v.ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-deadline.C:
		tired, err = true, os.ErrDeadlineExceeded
	case <-c.ctx.Done():
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.unlock()
	v.cursor.waiting--
	if v.over() && err != ErrClosed { // whatever else happened meanwhile
		tired, err = false, v.err
	}
	if err == nil {
		c.served(v)
		return nil
	}
	c.withdraw(v)
	if tired {
		err = c.giveUp(v)
	}
	return err
}

// over tells whether the wait is: the bytes are there, or never come.
func (v *View) over() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// giveUp is the error of a wait that has lasted for the read time-out, which it
// remembers.
func (c *Cache) giveUp(v *View) error {
	err := fmt.Errorf("no answer within %v: %w", c.cfg.ReadTimeout, os.ErrDeadlineExceeded)
	if trouble := c.tire(v); trouble != nil {
		err = fmt.Errorf("%w: %w", err, trouble)
	}
	c.setBack(v, err)
	return err
}

// served notes that a reader gets the view's bytes.
func (c *Cache) served(v *View) {
	c.stats.ServedBytes += int64(v.n)
	v.file.span(v.off, v.end(), func(_ int64, b *block, lo, hi int64) bool {
		touched := chunksTouching(lo, hi)
		v.file.read += int64((touched &^ b.read).count()) * chunkSize
		b.read |= touched
		return true
	})
}

// advise tells the retention policy what was read. Without the lock.
func (c *Cache) advise(v *View) {
	for _, b := range v.blocks {
		c.adviser.seen(b.id)
	}
}

// enqueue makes the view a waiter: for bytes if it has its blocks, otherwise
// for memory, behind those who came before.
func (c *Cache) enqueue(v *View) {
	if v.blocks != nil {
		v.file.waiters = append(v.file.waiters, v)
		return
	}
	c.starved = append(c.starved, v)
}

// withdraw takes the view out of whatever it waits in, and returns what it
// holds. Those behind it in the line for memory may find enough for them there.
func (c *Cache) withdraw(v *View) {
	isV := func(other *View) bool { return other == v }
	v.file.waiters = slices.DeleteFunc(v.file.waiters, isV)
	c.starved = slices.DeleteFunc(c.starved, isV)
	v.letGo()
	c.feed()
	c.forgetIfUnused(v.file)
}

// ErrClosed says that the Reader or its Cache was closed.
var ErrClosed = errors.New("prefetch: closed")
