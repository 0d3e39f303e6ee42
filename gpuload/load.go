package gpuload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weightfs/gpuload/safetensors"
)

// Load reads all files of src and copies their tensors to dev. On success every
// tensor is on the device, and was read from the version of its file that
// OpenSource found; the caller closes the model. On an error, which names file,
// range and tensor, everything taken from the device is freed. Loads may share
// a device and a source. A read from a path that the kernel has begun is waited
// for even when ctx is cancelled.
func Load(ctx context.Context, dev Device, src *Source, opts Options) (*Model, error) {
	if err := opts.Check(); err != nil {
		return nil, fmt.Errorf("load %s: %w", src, err)
	}
	opts = opts.For(src)
	staging, err := newBudget(opts.MemoryLimit, min(opts.PartSize, src.largest(), pieceBytes(src, dev)), opts.Concurrency)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", src, err)
	}
	l := newLoader(dev, src, opts, staging.fit(opts.MemoryLimit, src, dev.Advice()))
	if err := l.run(ctx); err != nil {
		return nil, errors.Join(err, l.memory.free())
	}
	return l.model(), nil
}

// pieceBytes is how much is best staged and copied at a time.
func pieceBytes(src *Source, dev Device) int64 { return max(src.piece(), dev.Advice().PieceBytes) }

// loader is one load under way. Its readers deal out the parts of all files
// among themselves; none waits for another, except for the header of the file
// that its part belongs to.
type loader struct {
	device  Device
	source  *Source
	options Options
	clock   *clock
	parts   *parts
	leases  *leases
	pinned  registrations
	memory  *allocations
	pool    *stagingPool
	files   []*fileLoad
	readers int
	peak    int64
	inPlace atomic.Int64 // bytes that were copied from where they were leased

	delivery sync.Mutex // held while Options.Deliver runs
	checked  bool       // guarded by delivery; the headers fit each other
	complete []*Tensor  // guarded by delivery; not delivered, as the headers are not checked
}

// fileLoad is one file of a load. All but the channels is set when ready is
// closed, the header when parsed is.
type fileLoad struct {
	file    *File
	parsed  chan struct{}
	ready   chan struct{}
	header  *safetensors.Header
	layout  *layout
	memory  []Memory // of each allocation of the layout
	tensors []Tensor
	missing *countdown
}

func newLoader(dev Device, src *Source, opts Options, staging budget) *loader {
	l := &loader{device: dev, source: src, options: opts, clock: newClock(),
		memory: newAllocations(dev, src.files), pool: newStagingPool(dev, staging)}
	var sizes []int64
	for _, f := range src.files {
		l.files = append(l.files, &fileLoad{file: f, parsed: make(chan struct{}), ready: make(chan struct{})})
		sizes = append(sizes, f.size)
	}
	readers := staging.readers(opts.Concurrency)
	l.parts = newParts(sizes, partsConfig{
		bytes: opts.PartSize, readers: readers, stagger: opts.Stagger,
		leased: func(file int) int64 { return leasedRange(src.files[file].blob, opts.PartSize) },
		joins:  func(file int) bool { return opts.joinParts && src.files[file].blob.joins() },
	})
	l.leases = newLeases(l.parts, src.files)
	l.pinned = newRegistrations(dev, src.files)
	l.readers = int(min(int64(readers), l.parts.count()))
	return l
}

// run reads and copies until all is on the device, or something failed.
func (l *loader) run(ctx context.Context) error {
	queues := make([]*queue, min(l.device.Advice().Streams, max(l.readers, 1)))
	for i := range queues {
		queues[i] = l.newQueue()
	}
	err := l.runReaders(ctx, queues)
	for _, q := range queues {
		if closeErr := q.close(); err == nil {
			err = closeErr
		}
	}
	l.leases.close()
	if closeErr := l.pinned.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("load %s: %w", l.source, closeErr)
	}
	l.peak = l.pool.peak()
	// All streams are closed: no copy reads from staging any more.
	if freeErr := l.pool.close(); err == nil && freeErr != nil {
		err = fmt.Errorf("load %s: free staging: %w", l.source, freeErr)
	}
	return err
}

// runReaders runs the readers and what is beside them.
func (l *loader) runReaders(ctx context.Context, queues []*queue) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.prepare(ctx) })
	for _, q := range queues {
		g.Go(q.open)
		g.Go(func() error { return q.complete(ctx) })
	}
	var readers sync.WaitGroup
	for number := range l.readers {
		readers.Add(1)
		g.Go(func() error {
			defer readers.Done()
			return l.runReader(ctx, number, queues[number%len(queues)])
		})
	}
	readers.Wait()
	for _, q := range queues {
		close(q.copies)
	}
	return g.Wait()
}

// prepare parses the headers and allocates memory, file by file, while the
// readers are already at work.
func (l *loader) prepare(ctx context.Context) error {
	g, preparing := errgroup.WithContext(ctx)
	g.SetLimit(headerReaders)
	for _, f := range l.files {
		g.Go(func() error { return l.prepareFile(preparing, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.clock.mark(func(p *Phases) *time.Duration { return &p.Header })
	headers := make([]*safetensors.Header, len(l.files))
	for i, f := range l.files {
		headers[i] = f.header
	}
	if err := l.source.check(headers); err != nil {
		return err
	}
	return l.deliverComplete(ctx)
}

func (l *loader) prepareFile(ctx context.Context, f *fileLoad) (err error) {
	if f.header, err = f.file.Header(ctx); err != nil {
		return err
	}
	close(f.parsed)
	if err := l.allocate(f); err != nil {
		return err
	}
	f.tensors = make([]Tensor, len(f.header.Tensors))
	f.missing = newCountdown(f.header)
	for i, t := range f.header.Tensors {
		f.tensors[i] = Tensor{Tensor: t, file: f.file, offset: f.header.Offset(t)}
		if p := f.layout.places[i]; p.alloc >= 0 {
			f.tensors[i].memory, f.tensors[i].at = f.memory[p.alloc], p.at
		}
	}
	close(f.ready)
	for i := range f.tensors {
		if f.tensors[i].Size() > 0 {
			continue
		}
		if err := l.deliver(&f.tensors[i]); err != nil {
			return err
		}
	}
	return nil
}

// allocate takes the device memory of a file whose header is known.
func (l *loader) allocate(f *fileLoad) error {
	f.layout = newLayout(f.header, maxAlloc)
	memory, failed, err := l.memory.place(f.file, f.layout)
	if err != nil {
		begin, end := f.layout.held(failed)
		return f.describe(begin, end, err)
	}
	f.memory = memory
	return nil
}

// deliver hands a complete tensor to the caller, or has it wait for the check of
// the headers.
func (l *loader) deliver(t *Tensor) error {
	l.delivery.Lock()
	defer l.delivery.Unlock()
	if !l.checked {
		l.complete = append(l.complete, t)
		return nil
	}
	return l.deliverNow(t)
}

// deliverComplete hands over what was complete before the headers were checked.
func (l *loader) deliverComplete(ctx context.Context) error {
	l.delivery.Lock()
	defer l.delivery.Unlock()
	l.checked = true
	for _, t := range l.complete {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.deliverNow(t); err != nil {
			return err
		}
	}
	l.complete = nil
	return nil
}

// deliverNow is called with delivery held.
func (l *loader) deliverNow(t *Tensor) error {
	if t.Size() > 0 {
		l.clock.mark(func(p *Phases) *time.Duration { return &p.FirstTensor })
	}
	if err := l.options.Deliver(t); err != nil {
		return fmt.Errorf("deliver tensor %q of %s: %w", t.Name, t.file.path, err)
	}
	return nil
}

// model is the result of a load that succeeded.
func (l *loader) model() *Model {
	m := &Model{byName: make(map[string]*Tensor), memory: l.memory.all} // which nobody adds to any more
	var bytes int64
	for _, f := range l.files {
		bytes += f.header.DataSize()
		for i := range f.tensors {
			t := &f.tensors[i]
			m.tensors = append(m.tensors, t)
			m.byName[t.Name] = t
		}
	}
	phases, elapsed := l.clock.end()
	m.stats = Stats{
		Files: len(l.files), Tensors: len(m.tensors), Bytes: bytes, Elapsed: elapsed,
		Concurrency: l.options.Concurrency, Readers: l.readers, PartBytes: l.options.PartSize, PieceBytes: int64(l.pool.budget.piece),
		StagingPeakBytes: l.peak, LeasedBytes: l.leases.bytes(), InPlaceBytes: l.inPlace.Load(), Phases: phases,
	}
	return m
}
