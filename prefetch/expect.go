package prefetch

import (
	"context"
	"math"

	"weightfs/prefetch/arena"
)

// A reader that knows what it will read says so. What it expects is fetched in that
// order, ahead of what streams would have fetched, and no stream is guessed from
// its reads.

// Expect says that the ranges will be read, in this order and after those of
// earlier calls; each ends with an Unexpect of the same range, or with the last
// Reader of the version. They are speculation like any other: memory is not kept
// for them.
func (r *Reader) Expect(ranges ...Range) {
	o := r.object
	var do after
	o.mu.Lock()
	for _, w := range ranges {
		if end := min(w.Offset+w.Length, o.obj.Size); !r.closed && 0 <= w.Offset && w.Offset < end {
			o.streams.Want(w.Offset, end)
		}
	}
	do.ready = o.expectationsChanged()
	o.mu.Unlock()
	o.settle(&do)
}

// Unexpect takes one expectation back. What is under way for it goes on.
func (r *Reader) Unexpect(w Range) {
	o := r.object
	var do after
	o.mu.Lock()
	if end := min(w.Offset+w.Length, o.obj.Size); !r.closed {
		o.streams.Unwant(w.Offset, end)
		do.ready = o.expectationsChanged()
	}
	o.mu.Unlock()
	if do.ready {
		o.settle(&do)
	}
}

// expectationsChanged has the scheduler and eviction see it, and says whether
// something is to be fetched. A reader that expects much and reads nothing has the
// share of one stream, and no more. mu is held.
func (o *object) expectationsChanged() bool {
	c := o.cache
	clock := c.arena.Clock()
	o.streams.WantedShare(c.allowance().Share(c.streams.Live(clock)), clock)
	distance := o.streams.Distance()
	o.distance.Store(distance)
	o.publish()
	return distance != math.MaxInt64
}

// Range is a range of an object's bytes.
type Range struct{ Offset, Length int64 }

// ViewExpected is View of a range that was expected, or that is otherwise of no
// stream.
func (r *Reader) ViewExpected(ctx context.Context, off int64, n int) (*View, error) {
	return r.view(ctx, off, n, &r.object.exact)
}

// AppendPieces appends where the View's bytes lie in the memory of
// [Cache.Shared] to others.
func (v *View) AppendPieces(to []arena.Piece) []arena.Piece {
	for _, some := range v.slices {
		to = append(to, v.object.cache.arena.Piece(some))
	}
	return to
}
