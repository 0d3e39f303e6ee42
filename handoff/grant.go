package handoff

import (
	"context"
	"fmt"
	"syscall"

	"weightfs/prefetch/arena"
)

// want takes ranges up: they are announced together, and leased one after the
// other.
func (se *session) want(entries []wanted) error {
	wants, err := se.addWants(entries)
	if err != nil {
		return err
	}
	for begin, end := 0, 0; begin < len(wants); begin = end {
		var ranges []Range
		for end = begin; end < len(wants) && wants[end].file == wants[begin].file; end++ {
			ranges = append(ranges, wants[end].r)
		}
		if err := se.server.guard(func() error { wants[begin].file.Expect(ranges); return nil }); err != nil {
			return err
		}
	}
	for _, w := range wants {
		se.line <- w // there is room: it holds as many as there may be
	}
	return nil
}

// addWants checks the ranges and books them.
func (se *session) addWants(entries []wanted) ([]*want, error) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if len(se.wants)+len(entries) > maxWants {
		return nil, fmt.Errorf("%w: %d ranges at once", errProtocol, len(se.wants)+len(entries))
	}
	wants := make([]*want, 0, len(entries))
	for _, e := range entries {
		f, ok := se.files[e.File]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: file %d is not open", errProtocol, e.File)
		case se.wants[e.Tag] != nil:
			return nil, fmt.Errorf("%w: tag %d twice", errProtocol, e.Tag)
		case e.Length == 0 || e.Length > se.server.welcome.MaxLength || e.Offset > uint64(f.Size()) || uint64(e.Length) > uint64(f.Size())-e.Offset:
			return nil, fmt.Errorf("%w: [%d,+%d) of %d bytes", errProtocol, e.Offset, e.Length, f.Size())
		}
		w := &want{tag: e.Tag, file: f, r: Range{int64(e.Offset), int64(e.Length)}}
		w.blocks = (w.r.Offset+w.r.Length-1)/arena.BlockSize - w.r.Offset/arena.BlockSize + 1
		w.ctx, w.cancel = context.WithCancel(se.ctx)
		f.uses++
		se.wants[e.Tag] = w
		wants = append(wants, w)
	}
	return wants, nil
}

// grant leases what is wanted, in order, as the client's share and the slots for
// those that wait allow.
func (se *session) grant() {
	for {
		select {
		case w := <-se.line:
			if se.server.quota.acquire(w.ctx, &se.member, w.blocks) != nil {
				se.finish(w, nil, context.Canceled)
			} else if err := se.takeLook(w.ctx); err != nil {
				se.server.quota.release(&se.member, w.blocks)
				se.finish(w, nil, err)
			} else {
				se.wg.Go(func() { se.lease(w) })
			}
		case <-se.ctx.Done():
			return
		}
	}
}

// takeLook waits for a slot of those who wait for bytes.
func (se *session) takeLook(ctx context.Context) error {
	select {
	case se.looks <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case se.server.looks <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-se.looks
		return context.Cause(ctx)
	}
}

// lease waits for a range's bytes, whose blocks are booked.
func (se *session) lease(w *want) {
	var l Lease
	err := se.server.guard(func() (err error) {
		l, err = w.file.Lease(w.ctx, w.r)
		return err
	})
	<-se.server.looks
	<-se.looks
	if err != nil {
		se.server.quota.release(&se.member, w.blocks)
	}
	se.finish(w, l, err)
}

// finish answers a range with its lease, or with the error.
func (se *session) finish(w *want, l Lease, err error) {
	var pieces []arena.Piece
	if l != nil {
		pieces = l.AppendPieces(nil) // before it can be given back
	}
	se.mu.Lock()
	w.file.Unexpect(w.r)
	se.unuse(w.file)
	if l == nil {
		w.cancel()
		delete(se.wants, w.tag)
	} else {
		w.lease = l
	}
	se.mu.Unlock()
	switch {
	case l != nil:
		se.bytes.Add(w.r.Length)
		se.server.served.Add(w.r.Length)
		se.answer(encodeLease(w.tag, pieces, se.server.cfg.Watermark()))
	case w.ctx.Err() != nil && err != nil && se.ctx.Err() == nil && isCanceled(err):
		se.answer(encodeFailure(typeLease, w.tag, syscall.ECANCELED, "cancelled"))
	default:
		se.answer(encodeFailure(typeLease, w.tag, errnoOf(err), err.Error()))
	}
}

// give takes a lease back.
func (se *session) give(tag uint32) error {
	se.mu.Lock()
	w := se.wants[tag]
	if w == nil || w.lease == nil {
		se.mu.Unlock()
		return fmt.Errorf("%w: tag %d is not leased", errProtocol, tag)
	}
	delete(se.wants, tag)
	se.mu.Unlock()
	w.cancel()
	w.lease.Release()
	se.server.quota.release(&se.member, w.blocks)
	return nil
}

// cancelWant ends the wait for a range. One that is leased meanwhile, or failed,
// has its answer.
func (se *session) cancelWant(tag uint32) error {
	se.mu.Lock()
	defer se.mu.Unlock()
	if w := se.wants[tag]; w != nil && w.lease == nil {
		w.cancel()
	}
	return nil
}
