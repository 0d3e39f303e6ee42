package gpuload

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"weightfs/gpuload/safetensors"
)

// reader is one goroutine that reads parts into staging, and enqueues the copies of
// what it has read as soon as its file has memory on the device. Until then it reads
// on, as long as there is staging.
type reader struct {
	*loader
	queue   *queue
	backlog []piece // read, in order, and not enqueued yet

	reading, waiting, parsing time.Duration
}

// piece is the bytes [begin,end) of a file on their way to the device.
type piece struct {
	file       *fileLoad
	begin, end int64
	staging    Staging
	lease      *lease // in place of staging
	event      Event  // done when the copy is
}

// runReader reads parts until none is left.
func (l *loader) runReader(ctx context.Context, number int, q *queue) error {
	r := &reader{loader: l, queue: q}
	defer func() { l.clock.reader(r.reading, r.waiting, r.parsing) }()
	l.parts.begin(ctx, number)
	for {
		p, ok := l.parts.take()
		if !ok {
			break
		}
		if err := r.readPart(ctx, l.files[p.file], p); err != nil {
			return err
		}
	}
	l.clock.read()
	for len(r.backlog) > 0 {
		if err := r.copyNext(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) readPart(ctx context.Context, f *fileLoad, p part) error {
	start := time.Now()
	w, err := r.lease(ctx, p)
	r.reading += time.Since(start)
	if err != nil {
		return f.failed(ctx, p.begin, p.end, err)
	}
	if w == nil {
		return r.readFrom(ctx, f, p, func() (body, error) { return f.file.blob.read(ctx, p.begin, p.end-p.begin) })
	}
	if memory, ok := r.borrow(p, w); ok {
		return r.copyLease(ctx, &lease{file: f, part: p, want: w, memory: memory})
	}
	err = r.readFrom(ctx, f, p, func() (body, error) { return newLeaseBody(ctx, f.file.blob.(*leaseBlob), w), nil })
	_ = r.leases.give(p, w) // what was copied is known to be right
	return err
}

// readFrom reads a part into staging, piece by piece.
func (r *reader) readFrom(ctx context.Context, f *fileLoad, p part, open func() (body, error)) error {
	start := time.Now()
	b, err := open()
	r.reading += time.Since(start)
	if err != nil {
		return f.failed(ctx, p.begin, p.end, err)
	}
	defer b.Close()
	came := func(n, end int64) { r.parts.came(p.file, n, start, end-p.begin) }
	for begin := p.begin; begin < p.end; begin += int64(r.pool.budget.piece) {
		c := piece{file: f, begin: begin, end: min(begin+int64(r.pool.budget.piece), p.end)}
		if err := r.takeStaging(ctx, &c); err != nil {
			return err
		}
		err := r.readPiece(b, c, came)
		if err != nil {
			return f.failed(ctx, p.begin, p.end, err)
		}
		r.backlog = append(r.backlog, c)
		if err := r.copyReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readPiece fills c's staging, by as many reads as the source is best read by, and
// tells came of each, how many bytes and up to where. After an error the pool still
// owns the staging.
func (r *reader) readPiece(b body, c piece, came func(n, end int64)) error {
	r.pool.reading.Add(1)
	defer r.pool.reading.Add(-1)
	start := time.Now()
	defer func() { r.reading += time.Since(start) }()
	step := c.end - c.begin
	if !b.splits() {
		step = min(step, hotPiece)
	}
	bytes := c.staging.Bytes()
	for at := c.begin; at < c.end; {
		n := min(step, c.end-at)
		if err := b.next(bytes[at-c.begin:], int(n)); err != nil {
			return err
		}
		r.clock.mark(func(p *Phases) *time.Duration { return &p.FirstByte })
		at += n
		came(n, at)
	}
	return nil
}

// takeStaging lends staging for c. Where all is lent it waits for some, or for what
// its own backlog waits for.
func (r *reader) takeStaging(ctx context.Context, c *piece) (err error) {
	ok := false
	for {
		if c.staging, ok, err = r.pool.try(); ok || err != nil || len(r.backlog) == 0 {
			break
		}
		if err := r.copyNext(ctx); err != nil {
			return err
		}
	}
	if !ok && err == nil {
		start, blame := time.Now(), &r.waiting
		if r.pool.mostlyRead() {
			blame = &r.reading
		}
		c.staging, err = r.pool.take(ctx)
		*blame += time.Since(start)
	}
	if err != nil {
		return c.file.failed(ctx, c.begin, c.end, err)
	}
	return nil
}

// copyReady enqueues the copies of what does not have to wait for its file.
func (r *reader) copyReady(ctx context.Context) error {
	for len(r.backlog) > 0 {
		select {
		case <-r.backlog[0].file.ready:
		default:
			return nil
		}
		if err := r.copyNext(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copyNext enqueues the copy of the first piece of the backlog, as soon as its file
// has memory.
func (r *reader) copyNext(ctx context.Context) error {
	c := r.backlog[0]
	r.backlog = r.backlog[1:]
	if err := r.copy(ctx, c); err != nil {
		return c.file.failed(ctx, c.begin, c.end, err)
	}
	return nil
}

// copy enqueues the copies of c's bytes to the tensors that they belong to.
func (r *reader) copy(ctx context.Context, c piece) (err error) {
	if err := r.await(ctx, c.file.parsed, &r.parsing); err != nil {
		return err
	}
	for _, ready := range []<-chan struct{}{c.file.ready, r.queue.opened} { // which wait for the device
		if err := r.await(ctx, ready, &r.waiting); err != nil {
			return err
		}
	}
	if c.lease != nil {
		err = c.lease.copy(r.queue.stream, c.begin, c.end)
	} else {
		err = c.file.copy(r.queue.stream, c.begin, c.end, c.staging, 0)
	}
	if err != nil {
		return err
	}
	if c.event, err = r.queue.stream.Record(); err != nil {
		return err
	}
	r.clock.copies(1)
	return r.queue.add(ctx, c)
}

// await waits for until to be closed and adds the time to blame.
func (r *reader) await(ctx context.Context, until <-chan struct{}, blame *time.Duration) error {
	start := time.Now()
	defer func() { *blame += time.Since(start) }()
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed is the error of reading or copying [begin,end) of the file. It waits
// for the header, to name the tensors, unless the load ends before that.
func (f *fileLoad) failed(ctx context.Context, begin, end int64, err error) error {
	select {
	case <-f.ready:
		return f.describe(begin, end, err)
	case <-ctx.Done():
		return fmt.Errorf("load %s [%d,%d): %w", f.file.path, begin, end, err)
	}
}

// describe says in which file, range and tensors err happened. The header is
// known.
func (f *fileLoad) describe(begin, end int64, err error) error {
	var first, last string
	count := 0
	for i := range overlapping(f.header, begin, end) {
		if last = f.header.Tensors[i].Name; count == 0 {
			first = last
		}
		count++
	}
	switch count {
	case 0:
		return fmt.Errorf("load %s [%d,%d): %w", f.file.path, begin, end, err)
	case 1:
		return fmt.Errorf("load %s [%d,%d), tensor %.200q: %w", f.file.path, begin, end, first, err)
	}
	return fmt.Errorf("load %s [%d,%d), tensors %.200q to %.200q: %w", f.file.path, begin, end, first, last, err)
}

// countdown knows how many bytes of each tensor are not on the device yet.
// Safe for concurrent use.
type countdown struct {
	header *safetensors.Header
	left   []atomic.Int64 // by index in header.Tensors
}

func newCountdown(h *safetensors.Header) *countdown {
	c := &countdown{header: h, left: make([]atomic.Int64, len(h.Tensors))}
	for i, t := range h.Tensors {
		c.left[i].Store(t.Size())
	}
	return c
}

// arrived counts the bytes [begin,end) of the file, each of which it is told
// once, and yields the index of each tensor that they complete.
func (c *countdown) arrived(begin, end int64) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i, n := range overlapping(c.header, begin, end) {
			if c.left[i].Add(-n) == 0 && !yield(i) {
				return
			}
		}
	}
}
