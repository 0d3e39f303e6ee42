package prefetch

import (
	"weightfs/prefetch/arena"
	"weightfs/remote"
)

// successor is the object that is read after another one, as far as it is known.
type successor struct {
	asked    bool
	known    bool
	object   remote.Object
	extended int64 // how far its window was opened
}

// wants says whether something is to be done for a window that reaches so far past
// the object's end.
func (s *successor) wants(beyond int64) bool {
	return beyond > 0 && (!s.asked || s.known && beyond >= s.extended+arena.BlockSize)
}

// lookBeyond lets a window that reaches so far past the end of an object which is
// read through open on the next shard. No lock is held.
func (c *Cache) lookBeyond(o *object, beyond int64) {
	if o.asks() {
		next, ok := c.cfg.Successor(o.obj)
		o.answer(next, ok)
	}
	next, ok := o.extend(beyond)
	if !ok {
		return
	}
	n := c.acquire(next)
	defer c.release(n)
	n.settle(n.open(beyond))
}

// asks says whether it is still to be asked which object comes next.
func (o *object) asks() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	asks := !o.next.asked
	o.next.asked = true
	return asks
}

func (o *object) answer(next remote.Object, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next.asked = ok // if not, the listing may be there when it is asked for again
	o.next.known = ok && next.Size > 0
	o.next.object = next
}

// extend returns the next object if its window is to be opened further.
func (o *object) extend(beyond int64) (next remote.Object, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.next.known || !o.next.wants(beyond) {
		return remote.Object{}, false
	}
	o.next.extended = beyond
	return o.next.object, true
}

// open opens the window of an object's first stream, unless its own reader is
// there.
func (o *object) open(window int64) *after {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.streams.First(window, o.cache.arena.Clock())
	if s == nil {
		return &after{}
	}
	s.Ready = true
	o.cache.arena.SetOpen(o.number, true)
	o.publish()
	o.distance.Store(o.streams.Distance())
	return &after{ready: true}
}
