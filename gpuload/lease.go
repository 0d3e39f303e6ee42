package gpuload

import (
	"context"
	"errors"
	"time"

	"weightfs/handoff"
)

// lease is a part that is copied to the device from where it lies in the memory of a
// mount's daemon.
type lease struct {
	file   *fileLoad
	part   part
	want   *handoff.Want
	memory []Staging // the bytes, in order
}

// lease waits for the lease of a part. It is nil where the part is to be read.
func (r *reader) lease(ctx context.Context, p part) (*handoff.Want, error) {
	w := r.leases.take(ctx, p)
	if w == nil {
		return nil, nil
	}
	err := w.Wait(ctx)
	if err == nil {
		return w, nil
	}
	r.leases.cancel(w)
	if errors.Is(err, handoff.ErrGone) {
		r.files[p.file].file.blob.(*leaseBlob).tell(err)
		return nil, nil
	}
	return nil, err
}

// borrow is a lease's bytes as staging, if the device copies from there. Otherwise it
// will, perhaps, once what lies there is registered.
func (r *reader) borrow(p part, w *handoff.Want) (memory []Staging, ok bool) {
	device, ok := r.device.(Borrower)
	if !ok {
		return nil, false
	}
	for _, some := range w.Slices() {
		all, ok := device.Borrow(some)
		if !ok {
			r.pinned.want(r.files[p.file].file.blob.(*leaseBlob).client, some)
			return nil, false
		}
		memory = append(memory, all...)
	}
	return memory, true
}

// copyLease enqueues the copies of a lease, piece by piece: no more of it is read at a
// time than there might be staging. The lease waits for room, and what takes room
// never waits for a lease.
func (r *reader) copyLease(ctx context.Context, l *lease) error {
	r.clock.mark(func(p *Phases) *time.Duration { return &p.FirstByte })
	for len(r.backlog) > 0 {
		if err := r.copyNext(ctx); err != nil {
			return err
		}
	}
	for begin := l.part.begin; begin < l.part.end; begin += int64(r.pool.budget.piece) {
		c := piece{file: l.file, lease: l, begin: begin, end: min(begin+int64(r.pool.budget.piece), l.part.end)}
		start := time.Now()
		err := r.pool.borrow(ctx)
		r.waiting += time.Since(start)
		if err == nil {
			err = r.copy(ctx, c)
		}
		if err != nil {
			return l.file.failed(ctx, c.begin, c.end, err)
		}
	}
	return nil
}

// copy enqueues the copies of the bytes [begin,end) of the file.
func (l *lease) copy(stream Stream, begin, end int64) error {
	at := l.part.begin
	for _, some := range l.memory {
		from, to := max(begin, at), min(end, at+int64(len(some.Bytes())))
		if from < to {
			if err := l.file.copy(stream, from, to, some, from-at); err != nil {
				return err
			}
		}
		at += int64(len(some.Bytes()))
	}
	return nil
}

// readMount reads the part from the mount and copies it once more. It needs a piece of
// staging, for which one of the lease's counts.
func (l *lease) readMount(ctx context.Context, q *queue) error {
	mount, err := l.file.file.blob.read(ctx, l.part.begin, l.part.end-l.part.begin)
	if err != nil {
		return err
	}
	defer mount.Close()
	staging, err := q.device.NewStaging(q.pool.budget.piece)
	if err != nil {
		return err
	}
	for begin := l.part.begin; begin < l.part.end && err == nil; {
		end := min(begin+int64(q.pool.budget.piece), l.part.end)
		if err = mount.next(staging.Bytes(), int(end-begin)); err == nil {
			err = l.file.copy(q.stream, begin, end, staging, 0)
		}
		err = errors.Join(err, q.stream.Sync())
		begin = end
	}
	return errors.Join(err, staging.Free())
}

// copy enqueues the copies of the bytes [begin,end) of the file, which lie in staging
// from at on, to where they belong.
func (f *fileLoad) copy(stream Stream, begin, end int64, from Staging, at int64) error {
	for s := range f.layout.within(begin, end) {
		if err := stream.Copy(f.memory[s.alloc], s.at, from, int(at+s.begin-begin), int(s.end-s.begin)); err != nil {
			return err
		}
	}
	return nil
}
