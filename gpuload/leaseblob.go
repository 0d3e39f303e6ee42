package gpuload

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"weightfs/handoff"
)

// aheadBytes is how much of a file is wanted before a reader comes to it: so much is
// fetched at a time from a distant store.
const aheadBytes = 256 << 20

// leaseBlob is a file of a mount, of which ranges are leased. The kernel's own pages
// come first: what is cached there is not in the daemon's memory, or twice.
type leaseBlob struct {
	*pathBlob
	file *handoff.RemoteFile

	mu    sync.Mutex
	ahead map[int64]*handoff.Want // guarded by mu; wanted, and nobody's yet, by offset
	upTo  int64                   // guarded by mu; up to here a load has wanted it
}

// read wants [off, off+n), and has what follows it wanted too. Where that is not to be
// had, the mount is read.
func (b *leaseBlob) read(ctx context.Context, off, n int64) (body, error) {
	if b.cached(off, n) {
		return b.pathBlob.read(ctx, off, n)
	}
	wants, err := b.want(off, off+n)
	if err != nil {
		return b.pathBlob.read(ctx, off, n)
	}
	return &leaseBody{ctx: ctx, blob: b, wants: wants, off: off, end: off + n}, nil
}

// want takes the wants of [off, end), in order.
func (b *leaseBlob) want(off, end int64) (wants []*handoff.Want, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	part := end - off
	var missing []handoff.Range
	for _, r := range b.cut(off, end) {
		if w := b.ahead[r.Offset]; w != nil && w.Range() == r {
			delete(b.ahead, r.Offset)
			wants = append(wants, w)
		} else {
			missing = append(missing, r)
		}
	}
	if len(missing) > 0 {
		more, err := b.file.Want(missing...)
		if err != nil {
			giveAll(wants)
			return nil, err
		}
		if wants = append(wants, more...); len(more) < len(wants) {
			sortByOffset(wants)
		}
	}
	b.wantAhead(end, part)
	return wants, nil
}

// cut divides a range into the longest that may be wanted.
func (b *leaseBlob) cut(off, end int64) (ranges []handoff.Range) {
	for longest := b.file.Client().MaxLength(); off < end; off += longest {
		ranges = append(ranges, handoff.Range{Offset: off, Length: min(end-off, longest)})
	}
	return ranges
}

// wantAhead has the parts from off on wanted, up to aheadBytes and as long as half of
// what may be wanted is left for readers. mu is held.
func (b *leaseBlob) wantAhead(off, part int64) {
	size := b.stat.Size
	limit := min(off+aheadBytes, size)
	if b.upTo = max(b.upTo, off); b.upTo > limit {
		b.upTo = off // another load
	}
	var ranges []handoff.Range
	for b.upTo < limit && b.file.Client().Wanted()+len(ranges) < b.file.Client().MaxWants()/2 {
		end := min(b.upTo+part, size)
		for _, r := range b.cut(b.upTo, end) {
			if b.ahead[r.Offset] == nil {
				ranges = append(ranges, r)
			}
		}
		b.upTo = end
	}
	if len(ranges) > 0 {
		wants, err := b.file.Want(ranges...)
		if err != nil {
			return // whoever comes there wants it himself
		}
		for _, w := range wants {
			b.ahead[w.Range().Offset] = w
		}
	}
	if len(b.ahead) == 0 && b.upTo >= size {
		b.upTo = 0 // the next load begins anew
	}
}

// Close gives up what nobody came to.
func (b *leaseBlob) Close() error {
	b.mu.Lock()
	for _, w := range b.ahead {
		_ = w.Give() // fails where the daemon has gone
	}
	clear(b.ahead)
	b.mu.Unlock()
	_ = b.file.Close()
	return b.pathBlob.Close()
}

func sortByOffset(wants []*handoff.Want) {
	slices.SortFunc(wants, func(a, b *handoff.Want) int { return cmp.Compare(a.Range().Offset, b.Range().Offset) })
}

func giveAll(wants []*handoff.Want) {
	for _, w := range wants {
		_ = w.Give() // nothing was read of it
	}
}

// leaseBody reads a part from leases. What it cannot have leased, since the daemon
// has gone or has cut the connection off, it reads from the mount.
type leaseBody struct {
	ctx      context.Context
	blob     *leaseBlob
	wants    []*handoff.Want // not read to their ends, in order
	slices   [][]byte        // of the first of them, not read yet
	off, end int64
	mount    body // what is read instead, from off on; nil while leases are had
}

func (r *leaseBody) splits() bool { return false }

// next copies the next n bytes.
func (r *leaseBody) next(buf []byte, n int) error {
	for done := 0; r.mount == nil && done < n; {
		if err := r.lease(); err != nil {
			return err
		}
		if r.mount != nil {
			break // from r.off on
		}
		got := copy(buf[done:n], r.slices[0])
		done += got
		if r.slices[0] = r.slices[0][got:]; len(r.slices[0]) == 0 {
			r.slices = r.slices[1:]
		}
		if done == n && r.blob.file.Client().Alive() != nil { // it may have been replaced while it was copied
			if err := r.readMount(); err != nil {
				return err
			}
		}
		if len(r.slices) == 0 && r.mount == nil {
			_ = r.wants[0].Give() // all that was copied is right
			r.wants = r.wants[1:]
		}
	}
	if r.mount != nil {
		if err := r.mount.next(buf, n); err != nil {
			return err
		}
	}
	r.off += int64(n)
	return nil
}

// lease has slices to read, or the mount.
func (r *leaseBody) lease() error {
	if len(r.slices) > 0 {
		return nil
	}
	err := r.wants[0].Wait(r.ctx)
	switch {
	case err == nil:
		r.slices = append([][]byte(nil), r.wants[0].Slices()...)
		return nil
	case errors.Is(err, handoff.ErrGone):
		return r.readMount()
	}
	return err
}

// readMount has the rest read from the mount.
func (r *leaseBody) readMount() (err error) {
	giveAll(r.wants)
	r.wants, r.slices = nil, nil
	r.mount, err = r.blob.pathBlob.read(r.ctx, r.off, r.end-r.off)
	return err
}

// Close gives back what was not read.
func (r *leaseBody) Close() error {
	giveAll(r.wants)
	r.wants = nil
	if r.mount != nil {
		return r.mount.Close()
	}
	return nil
}

// lend takes the next lease for copies that read it where it is. ok is false where
// the rest is to be read by next.
func (r *leaseBody) lend() (w *handoff.Want, ok bool, err error) {
	if r.mount != nil || len(r.wants) == 0 {
		return nil, false, nil
	}
	if err := r.lease(); err != nil || r.mount != nil {
		return nil, false, err
	}
	w = r.wants[0]
	r.wants, r.slices = r.wants[1:], nil
	r.off += w.Range().Length
	return w, true, nil
}
