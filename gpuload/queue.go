package gpuload

import (
	"context"
	"fmt"
	"sync"
)

// queue is one stream of the device, shared by several readers, and the copies on it
// that are not known to be done.
type queue struct {
	*loader
	opened chan struct{} // closed when stream is there
	stream Stream
	copies chan piece // enqueued, in the order of the stream

	mu   sync.Mutex
	left []piece // guarded by mu; that did not come into copies
}

// queueDepth is how many copies may be on a stream before readers wait. It bounds what
// is page-locked of what was read before a GPU was ready: 64 pieces on two streams.
const queueDepth = 32

func (l *loader) newQueue() *queue {
	return &queue{loader: l, opened: make(chan struct{}), copies: make(chan piece, queueDepth)}
}

// open makes the stream, which waits for the device.
func (q *queue) open() error {
	var err error
	if q.stream, err = q.device.NewStream(); err != nil {
		return fmt.Errorf("load %s: %w", q.source, err)
	}
	close(q.opened)
	return nil
}

// add takes a piece whose copy was enqueued.
func (q *queue) add(ctx context.Context, c piece) error {
	select {
	case q.copies <- c:
		return nil
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		q.left = append(q.left, c)
		return ctx.Err()
	}
}

// complete gives staging back and delivers tensors as their copies are done, until
// the readers have ended.
func (q *queue) complete(ctx context.Context) error {
	for c := range q.copies {
		if err := c.event.Wait(ctx); err != nil {
			return c.file.failed(ctx, c.begin, c.end, err)
		}
		q.clock.copies(-1)
		begin, end, err := q.giveBack(ctx, c)
		if err != nil {
			return c.file.failed(ctx, c.begin, c.end, err)
		}
		if err := q.arrived(c.file, begin, end); err != nil {
			return err
		}
	}
	return nil
}

// giveBack gives back what a piece was copied from, and says which bytes of the file
// are known to be right by that: of a lease all, with its last piece.
func (q *queue) giveBack(ctx context.Context, c piece) (begin, end int64, err error) {
	if c.lease == nil {
		return c.begin, c.end, q.pool.put(c.staging)
	}
	defer q.pool.giveBack()
	p := c.lease.part
	if c.end < p.end {
		return c.end, c.end, nil
	}
	q.inPlace.Add(p.end - p.begin)
	if q.leases.give(p, c.lease.want) != nil {
		err = c.lease.readMount(ctx, q) // it may have been replaced while it was copied
	}
	return p.begin, p.end, err
}

func (q *queue) arrived(f *fileLoad, begin, end int64) error {
	q.options.Progress(end - begin)
	for i := range f.missing.arrived(begin, end) {
		if err := q.deliver(&f.tensors[i]); err != nil {
			return err
		}
	}
	return nil
}

// close drains and closes the stream. It asks for the events that a load which
// failed did not wait for, so that they give back what they hold.
func (q *queue) close() error {
	if q.stream == nil {
		return nil
	}
	err := q.stream.Close()
	for len(q.copies) > 0 {
		q.left = append(q.left, <-q.copies)
	}
	for _, c := range q.left {
		_, _ = c.event.Done()
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", q.source, err)
	}
	return nil
}
