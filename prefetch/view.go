package prefetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/prefetch/stream"
	"weightfs/remote"
)

// ErrClosed says that the Reader or its Cache was closed.
var ErrClosed = errors.New("prefetch: closed")

// Reader reads one object version. Safe for concurrent use.
type Reader struct {
	object *object
	number uint64 // among the object's readers, from 1 on
	opened time.Time
	closed bool // guarded by the object's lock
}

// Open returns a reader of one object version. It does no I/O; readers of the
// same version share everything.
func (c *Cache) Open(obj remote.Object) *Reader {
	o := c.acquire(obj)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.handles++; o.handles == 1 {
		c.arena.SetOpen(o.number, true)
	}
	o.opened++
	return &Reader{object: o, number: o.opened, opened: c.now()}
}

// Close ends the reader. The last reader of a version takes with it the
// fetches that nobody waits for; what was fetched stays while there is room.
// Views stay valid until they are released.
func (r *Reader) Close() error {
	var do after
	if r.close(&do) {
		r.object.settle(&do)
		r.object.cache.release(r.object)
	}
	return nil
}

// close says whether the reader was open.
func (r *Reader) close(do *after) bool {
	o := r.object
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.closed {
		return false
	}
	r.closed = true
	if o.handles--; o.handles == 0 {
		o.quiesce(do)
	}
	return true
}

// View is a leased range of an object's bytes in cache memory. Its owner
// reads the slices, never writes them, and calls Release once done; until then
// the memory stays.
type View struct {
	object *object
	off    int64
	n      int
	lease  arena.Lease
	slices [][]byte
	stream *stream.Stream // it belongs to

	// Of a wait, guarded by the object's lock.
	ready   chan struct{} // closed when it is over; nil on the fast path
	over    bool
	err     error // why it failed; set before ready is closed
	pending int   // flights that are to bring something
	began   time.Time

	// The common lengths need no allocation beside the View.
	space [2][]byte
}

func (v *View) end() int64 { return v.off + int64(v.n) }

// Slices are the bytes, in order. They are valid until Release.
func (v *View) Slices() [][]byte { return v.slices }

// Len is the number of bytes in Slices.
func (v *View) Len() int { return v.n }

// Waited tells whether the View had to wait: for its bytes, or for memory.
func (v *View) Waited() bool { return v.ready != nil }

// Release gives the memory back to the cache. It may be called more than once
// and from any goroutine.
func (v *View) Release() {
	if v.object == nil {
		return // an empty view
	}
	v.object.cache.arena.Release(&v.lease)
	v.object.cache.freed()
}

// View leases bytes [off, off+n) of the object, clipped at its end, and waits
// until they are there; n is at most MaxView. Only the wait belongs to ctx:
// the fetch goes on for others. Errors are ctx's, remote's, ErrClosed, or
// os.ErrDeadlineExceeded after Config.ReadTimeout.
func (r *Reader) View(ctx context.Context, off int64, n int) (*View, error) {
	return r.view(ctx, off, n, nil)
}

// view is View of a read that belongs to a stream, which is found where it is nil.
func (r *Reader) view(ctx context.Context, off int64, n int, s *stream.Stream) (*View, error) {
	o := r.object
	if off < 0 || n < 0 || n > MaxView {
		return nil, fmt.Errorf("view %s [%d,+%d): %w", o.obj.Key, off, n, os.ErrInvalid)
	}
	n = int(min(int64(n), o.obj.Size-off))
	if n <= 0 {
		return &View{}, nil
	}
	v := &View{object: o, off: off, n: n, stream: s}
	if err := r.lease(ctx, v); err != nil {
		return nil, fmt.Errorf("read %s [%d,%d): %w", o.obj.Key, off, v.end(), err)
	}
	o.cache.counts.served.Add(int64(n))
	v.slices = o.cache.arena.AppendSlices(v.space[:0], &v.lease, off, v.end())
	return v, nil
}

// lease leases a view's blocks, with their bytes.
func (r *Reader) lease(ctx context.Context, v *View) error {
	var do after
	hit, err := v.object.begin(r, v, &do)
	if err != nil {
		return err
	}
	if hit {
		if do.ready || do.beyond > 0 || do.cancel != nil {
			v.object.settle(&do)
		}
		return nil
	}
	return v.object.await(ctx, v, &do)
}

// begin leases the view's blocks if their bytes are there. Otherwise it makes it a
// waiter; without an error the caller is one of the cache's goroutines then, until
// await returns.
func (o *object) begin(r *Reader, v *View, do *after) (hit bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.cache
	done, entered := false, false
	defer func() {
		if done {
			return
		}
		c.arena.Release(&v.lease) // an error, or a panic, which fs survives
		if entered {
			o.users.Add(-1)
			c.goroutines.Done()
		}
	}()
	if r.closed {
		return false, ErrClosed
	}
	hit, first, err := c.arena.Hit(&v.lease, o.number, v.off, v.end())
	if err != nil {
		return false, ErrClosed
	}
	if hit {
		o.read += first
		c.counts.hits.Add(1)
		if v.stream == nil {
			o.follow(r, v, false, do)
		}
		done = true
		return true, nil
	}
	v.began = c.now()
	if err := o.failures.find(v.off, v.end(), r.opened, v.began); err != nil {
		return false, err
	}
	if !c.enter() {
		return false, ErrClosed
	}
	entered = true
	o.users.Add(1)
	c.counts.misses.Add(1)
	jumped := v.stream == nil && o.follow(r, v, true, do)
	v.ready = make(chan struct{})
	if c.arena.Lease(&v.lease, o.number, v.off, v.end()) {
		if jumped {
			o.cut(v, do)
		}
		o.demand(v, do)
	}
	v.stream.Waiting++
	done = true
	return false, nil
}

// await waits for the view's memory, if it has none yet, and for its bytes.
func (o *object) await(ctx context.Context, v *View, do *after) error {
	c := o.cache
	defer c.goroutines.Done()
	defer c.release(o)
	deadline := time.NewTimer(c.cfg.ReadTimeout)
	defer deadline.Stop()
	c.waits.begin(c.now())
	defer func() { c.waits.end(c.now()) }()
	o.settle(do)
	err := o.awaitMemory(ctx, v, deadline.C)
	if err == nil {
		err = c.pause(ctx, v.ready, deadline.C)
	}
	*do = after{}
	err = o.leaveWait(v, err, do)
	if err != nil {
		c.arena.Release(&v.lease)
	}
	o.settle(do)
	return err
}

// awaitMemory waits in line for the view's blocks, holding none, and then demands
// its bytes.
func (o *object) awaitMemory(ctx context.Context, v *View, deadline <-chan time.Time) error {
	if v.lease.Held() {
		return nil
	}
	c := o.cache
	c.scheduler.yield(int((v.end()-1)/blockSize - v.off/blockSize + 1))
	c.memoryWaits.begin(c.now())
	defer func() { c.memoryWaits.end(c.now()) }()
	ticket := c.arena.Wait(&v.lease, o.number, v.off, v.end())
	c.freed()
	if err := c.pause(ctx, ticket.Ready(), deadline); err != nil {
		c.arena.Cancel(ticket)
		return err
	}
	var do after
	o.mu.Lock()
	o.demand(v, &do)
	o.mu.Unlock()
	o.settle(&do)
	return nil
}

// pause waits for done.
func (c *Cache) pause(ctx context.Context, done <-chan struct{}, deadline <-chan time.Time) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-deadline:
		return os.ErrDeadlineExceeded
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// leaveWait ends a view's wait, which was given up with err or is over, and
// returns its error.
func (o *object) leaveWait(v *View, err error, do *after) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.stream.Waiting--
	if v.over && err != ErrClosed { // whatever else happened meanwhile
		err = v.err
	} else if err != nil {
		o.detach(v)
		if err == os.ErrDeadlineExceeded {
			err = o.giveUp(v, do)
		}
	}
	if err == nil {
		o.read += o.cache.arena.Served(&v.lease, v.off, v.end())
	}
	return err
}

// giveUp is the error of a wait that has lasted for the read time-out, which is
// remembered.
func (o *object) giveUp(v *View, do *after) error {
	err := fmt.Errorf("no answer within %v: %w", o.cache.cfg.ReadTimeout, os.ErrDeadlineExceeded)
	if trouble := o.cancelStalled(v, do); trouble != nil {
		err = fmt.Errorf("%w: %w", err, trouble)
	}
	o.failures.add(v.off, v.end(), err, v.began, o.cache.now())
	return err
}

// finish ends the wait. The object's lock is held.
func (v *View) finish(err error) {
	v.over, v.err = true, err
	close(v.ready)
}
