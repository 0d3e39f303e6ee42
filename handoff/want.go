package handoff

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"

	"weightfs/prefetch/arena"
)

// Want is a range that was asked for.
type Want struct {
	client *Client
	tag    uint32
	r      Range
	ready  chan struct{} // closed once it is leased, or has failed

	slices [][]byte // set before ready is closed, as is err
	err    error
	given  sync.Once
}

// Want asks for ranges, which are leased in about this order and fetched ahead. A
// range is inside of the file and at most MaxLength long. At most MaxWants may be
// wanted or leased at once over all files.
func (f *RemoteFile) Want(ranges ...Range) ([]*Want, error) {
	c := f.client
	for _, r := range ranges {
		if r.Offset < 0 || r.Length <= 0 || r.Length > c.MaxLength() || r.Offset > f.size-r.Length {
			return nil, fmt.Errorf("want [%d,+%d) of %d bytes: %w", r.Offset, r.Length, f.size, os.ErrInvalid)
		}
	}
	wants, err := c.addWants(ranges)
	if err != nil {
		return nil, err
	}
	const batch = (maxMessage - headerSize) / wantedSize
	for rest := wants; len(rest) > 0; {
		message, n := header(typeWant, 0), min(len(rest), batch)
		for _, w := range rest[:n] {
			message = appendFields(message, wanted{Tag: w.tag, File: f.number, Offset: uint64(w.r.Offset), Length: uint32(w.r.Length)})
		}
		if err := c.send(message); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return wants, nil
}

// addWants books ranges.
func (c *Client) addWants(ranges []Range) ([]*Want, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wants == nil {
		return nil, ErrGone
	}
	if len(c.wants)+len(ranges) > c.MaxWants() {
		return nil, fmt.Errorf("hand-off: %d ranges at once: %w", len(c.wants)+len(ranges), syscall.ENOBUFS)
	}
	wants := make([]*Want, len(ranges))
	for i, r := range ranges {
		c.tag++
		wants[i] = &Want{client: c, tag: c.tag, r: r, ready: make(chan struct{})}
		c.wants[c.tag] = wants[i]
	}
	return wants, nil
}

// Range is what was asked for.
func (w *Want) Range() Range { return w.r }

// Wait waits until the range is leased. The error is an errno, as read(2) would
// give it, ErrGone, or ctx's: then the range is still wanted.
func (w *Want) Wait(ctx context.Context) error {
	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Ready is closed once the range is leased, or has failed.
func (w *Want) Ready() <-chan struct{} { return w.ready }

// Slices are the bytes, in order, once they are leased and until Give. They are
// never to be written.
func (w *Want) Slices() [][]byte { return w.slices }

// Give gives the lease back. Without an error all that was read of Slices before
// was right; otherwise the connection had ended, and it may not have been. Of a
// range that is not leased it is a Cancel.
func (w *Want) Give() error {
	select {
	case <-w.ready:
	default:
		return w.Cancel()
	}
	if w.err != nil {
		return nil // nothing is leased
	}
	err := error(nil)
	w.given.Do(func() { err = w.client.give(w.tag) })
	return err
}

func (c *Client) give(tag uint32) error {
	err := c.send(binary.LittleEndian.AppendUint32(header(typeGive, 0), tag))
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.wants, tag)
	return err
}

// Cancel ends the wait for a range: it fails with ECANCELED, unless it is leased
// first; then it is given back by the time that it is.
func (w *Want) Cancel() error {
	go func() {
		<-w.ready
		if w.err == nil {
			_ = w.Give() // nobody reads it
		}
	}()
	return w.client.send(binary.LittleEndian.AppendUint32(header(typeCancel, 0), w.tag))
}

// over tells whether the wait is. The client's mu is held.
func (w *Want) over() bool { return w.slices != nil || w.err != nil }

// finish ends the wait. The client's mu is held.
func (w *Want) finish(slices [][]byte, err error) {
	if !w.over() {
		w.slices, w.err = slices, err
		close(w.ready)
	}
}

// lease ends the wait with pieces of the memory.
func (w *Want) lease(pieces []arena.Piece) error {
	var slices [][]byte
	total := int64(0)
	for _, p := range pieces {
		slices = append(slices, w.client.memory[p.Offset:p.Offset+p.Length:p.Offset+p.Length])
		total += p.Length
	}
	if total != w.r.Length {
		return fmt.Errorf("%w: %d bytes leased of %d", errProtocol, total, w.r.Length)
	}
	w.finish(slices, nil)
	return nil
}

// Copy copies the range to a buffer of its length, and gives it back: without an
// error the buffer has the file's bytes.
func (w *Want) Copy(ctx context.Context, to []byte) error {
	if err := w.Wait(ctx); err != nil {
		return err
	}
	for _, s := range w.slices {
		to = to[copy(to, s):]
	}
	return w.Give()
}
