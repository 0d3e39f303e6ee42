package gpuload

import (
	"context"
	"errors"
	"time"

	"weightfs/handoff"
)

// lender is a body whose bytes can be copied from where they are.
type lender interface {
	// lend takes the next lease; ok is false where the rest is to be read by next.
	lend() (w *handoff.Want, ok bool, err error)
}

// lend enqueues the copies of what is lent of a part, if the device takes it so, and
// returns where the rest begins. A lease that waits for its file keeps others from
// theirs: so each is enqueued before the next is taken.
func (r *reader) lend(ctx context.Context, b body, f *fileLoad, p part, came func(n, end int64)) (int64, error) {
	from, lends := b.(lender)
	if _, borrows := r.device.(Borrower); !lends || !borrows {
		return p.begin, nil
	}
	begin := p.begin
	for begin < p.end {
		for len(r.backlog) > 0 {
			if err := r.copyNext(ctx); err != nil {
				return begin, err
			}
		}
		start := time.Now()
		w, ok, err := from.lend()
		r.reading += time.Since(start)
		if err != nil {
			return begin, f.failed(ctx, begin, p.end, err)
		}
		if !ok {
			return begin, nil
		}
		r.clock.mark(func(p *Phases) *time.Duration { return &p.FirstByte })
		c := piece{file: f, begin: begin, end: begin + w.Range().Length, lent: w}
		begin = c.end
		came(w.Range().Length, begin)
		r.backlog = append(r.backlog, c)
	}
	return begin, nil
}

// copyFrom enqueues the copies of a piece's bytes, which staging has, to where they
// belong.
func (q *queue) copyFrom(c piece, staging Staging) error {
	for s := range c.file.layout.within(c.begin, c.end) {
		err := q.stream.Copy(c.file.memory[s.alloc], s.at, staging, int(s.begin-c.begin), int(s.end-s.begin))
		if err != nil {
			return err
		}
	}
	return nil
}

// copyLent does so from where the bytes of a lease lie.
func (q *queue) copyLent(c piece) error {
	device := q.device.(Borrower) // asked by lend
	begin := c.begin
	for _, some := range c.lent.Slices() {
		part := piece{file: c.file, begin: begin, end: begin + int64(len(some))}
		if err := q.copyFrom(part, device.Borrow(some)); err != nil {
			return err
		}
		begin = part.end
	}
	return nil
}

// giveBack gives back what a piece, whose copy is done, was copied from. A lease that
// cannot be given back may have been replaced while it was copied: its range is read
// from the mount.
func (q *queue) giveBack(ctx context.Context, c piece) error {
	if c.lent == nil {
		return q.pool.put(c.staging)
	}
	if c.lent.Give() == nil {
		return nil
	}
	mount, err := c.file.file.blob.(*leaseBlob).pathBlob.read(ctx, c.begin, c.end-c.begin)
	if err != nil {
		return err
	}
	defer mount.Close()
	// Not of the pool, all of which may wait behind this very piece.
	staging, err := q.device.NewStaging(q.pool.budget.piece)
	if err != nil {
		return err
	}
	for begin := c.begin; begin < c.end && err == nil; {
		part := piece{file: c.file, begin: begin, end: min(begin+int64(q.pool.budget.piece), c.end)}
		if err = mount.next(staging.Bytes(), int(part.end-begin)); err == nil {
			err = q.copyFrom(part, staging)
		}
		err = errors.Join(err, q.stream.Sync())
		begin = part.end
	}
	return errors.Join(err, staging.Free())
}

// giveUp gives back a lease of which nothing is copied any more.
func (c piece) giveUp() {
	if c.lent != nil {
		_ = c.lent.Give()
	}
}
