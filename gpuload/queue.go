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
	left []Event // guarded by mu; of copies that did not come into copies
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
		q.left = append(q.left, c.event)
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
		if err := q.pool.put(c.staging); err != nil {
			return c.file.failed(ctx, c.begin, c.end, err)
		}
		if err := q.arrived(c); err != nil {
			return err
		}
	}
	return nil
}

func (q *queue) arrived(c piece) error {
	q.options.Progress(c.end - c.begin)
	for i := range c.file.missing.arrived(c.begin, c.end) {
		if err := q.deliver(&c.file.tensors[i]); err != nil {
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
		_, _ = (<-q.copies).event.Done()
	}
	for _, e := range q.left {
		_, _ = e.Done()
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", q.source, err)
	}
	return nil
}
