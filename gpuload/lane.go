package gpuload

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weightfs/gpuload/safetensors"
)

// lane is one reader: one goroutine that reads parts into staging and enqueues
// the copies on the lane's own stream, and one that gives the staging back as
// the copies complete. Only the staging pool and the device's own speed hold
// the first one up.
type lane struct {
	*loader
	stream Stream
	copies chan chunk // enqueued
	left   Event      // of an enqueued copy that did not come into copies; nil for none

	reading, waiting, parsing time.Duration
}

// laneCopies is how many of a lane's copies may be under way before its reader
// waits: more than a lane gets staging for.
const laneCopies = 64

// chunk is the bytes [begin,end) of a file on their way to the device.
type chunk struct {
	file       *fileLoad
	begin, end int64
	staging    Staging
	event      Event // done when the copy is
	hot        bool  // one of the loader's hot chunks
}

// runLane is the lane of a number: it reads parts until none is left and all
// copies are done.
func (l *loader) runLane(ctx context.Context, number int) error {
	stream, err := l.device.NewStream()
	if err != nil {
		return fmt.Errorf("load %s: %w", l.source, err)
	}
	ln := &lane{loader: l, stream: stream, copies: make(chan chunk, min(l.pool.budget.slots, laneCopies))}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(ln.copies)
		ln.parts.begin(ctx, number)
		return ln.readParts(ctx)
	})
	g.Go(func() error { return ln.complete(ctx) })
	err = g.Wait()
	if closeErr := stream.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("load %s: %w", l.source, closeErr)
	}
	ln.dropEvents()
	return err
}

// dropEvents asks for the events that a load which failed did not wait for, so
// that they give back what they hold. The stream is closed: they are done.
func (ln *lane) dropEvents() {
	if ln.left != nil {
		_, _ = ln.left.Done()
	}
	for c := range ln.copies {
		_, _ = c.event.Done()
	}
}

func (ln *lane) readParts(ctx context.Context) error {
	defer func() { ln.clock.reader(ln.reading, ln.waiting, ln.parsing) }()
	for {
		p, ok := ln.parts.take()
		if !ok {
			return nil
		}
		f := ln.files[p.file]
		if err := ln.readPart(ctx, f, p); err != nil {
			return f.failed(ctx, p.begin, p.end, err)
		}
	}
}

func (ln *lane) readPart(ctx context.Context, f *fileLoad, p part) error {
	start := time.Now()
	b, err := f.file.blob.read(ctx, p.begin, p.end-p.begin)
	ln.reading += time.Since(start)
	if err != nil {
		return err
	}
	defer b.Close()
	step := int64(ln.pool.budget.chunk)
	if !b.splits() {
		step = min(step, hotChunk)
	}
	for begin := p.begin; begin < p.end; {
		c := chunk{file: f, begin: begin, end: min(begin+step, p.end), hot: b.inMemory()}
		if err := ln.readChunk(ctx, b, &c); err != nil {
			return err
		}
		ln.parts.came(p.file, c.end-c.begin, start, c.end-p.begin)
		if err := ln.copy(ctx, c); err != nil {
			return err
		}
		begin = c.end
	}
	return nil
}

// readChunk fills c's staging. After an error the pool still owns it.
func (ln *lane) readChunk(ctx context.Context, b body, c *chunk) (err error) {
	start := time.Now()
	blame := &ln.waiting
	if c.hot {
		if ln.hot.mostlyReading() {
			blame = &ln.reading
		}
		if err := ln.hot.enter(ctx); err != nil {
			return err
		}
		defer ln.hot.read()
	}
	if c.staging, err = ln.pool.take(ctx); err != nil {
		return err
	}
	got := time.Now()
	err = b.next(c.staging.Bytes(), int(c.end-c.begin))
	*blame += got.Sub(start)
	ln.reading += time.Since(got)
	if err == nil {
		ln.clock.mark(func(p *Phases) *time.Duration { return &p.FirstByte })
	}
	return err
}

// copy enqueues the copies of c's bytes to the tensors that they belong to.
func (ln *lane) copy(ctx context.Context, c chunk) (err error) {
	if err := ln.await(ctx, c.file.parsed, &ln.parsing); err != nil {
		return err
	}
	if err := ln.await(ctx, c.file.ready, &ln.waiting); err != nil { // for memory of the device
		return err
	}
	bytes := c.staging.Bytes()
	for s := range c.file.layout.within(c.begin, c.end) {
		src := bytes[s.begin-c.begin : s.end-c.begin]
		if err := ln.stream.Copy(c.file.memory[s.alloc], s.at, src); err != nil {
			return err
		}
	}
	if c.event, err = ln.stream.Record(); err != nil {
		return err
	}
	ln.clock.copies(1)
	select {
	case ln.copies <- c:
		return nil
	case <-ctx.Done():
		ln.left = c.event
		return ctx.Err()
	}
}

// await waits for until to be closed and adds the time to blame.
func (ln *lane) await(ctx context.Context, until <-chan struct{}, blame *time.Duration) error {
	start := time.Now()
	defer func() { *blame += time.Since(start) }()
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// complete gives staging back and delivers tensors as their copies are done.
func (ln *lane) complete(ctx context.Context) error {
	for c := range ln.copies {
		if err := c.event.Wait(ctx); err != nil {
			return c.file.failed(ctx, c.begin, c.end, err)
		}
		ln.clock.copies(-1)
		ln.pool.put(c.staging)
		if c.hot {
			ln.hot.leave()
		}
		if err := ln.arrived(c); err != nil {
			return err
		}
	}
	return nil
}

func (ln *lane) arrived(c chunk) error {
	ln.options.Progress(c.end - c.begin)
	for i := range c.file.missing.arrived(c.begin, c.end) {
		if err := ln.deliver(&c.file.tensors[i]); err != nil {
			return err
		}
	}
	return nil
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
