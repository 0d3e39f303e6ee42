package arena

import "slices"

// Lease holds the blocks of a range for a reader: their memory stays until it is
// released. The zero value holds none.
type Lease struct {
	ids [MaxBlocks]id
	n   int
}

// Held says whether the lease holds blocks.
func (l *Lease) Held() bool { return l.n > 0 }

// Ticket is a place in the line of those who wait for memory.
type Ticket struct {
	lease    *Lease
	number   Number
	off, end int64
	granted  bool
	ready    chan struct{}
}

// Ready is closed when the lease was granted.
func (t *Ticket) Ready() <-chan struct{} { return t.ready }

// Hit leases all blocks that [off, end) touches if their bytes can be read, which
// then count as read: first is how many of them for the first time.
func (a *Arena) Hit(l *Lease, n Number, off, end int64) (hit bool, first int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false, 0, ErrClosed
	}
	if !a.leasePresent(l, n, off, end) {
		return false, 0, nil
	}
	return true, a.markRead(l, off, end), nil
}

// Lease leases all blocks that [off, end) touches, whatever of them is there, or
// none: then there is not enough memory, or others wait for it.
func (a *Arena) Lease(l *Lease, n Number, off, end int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.closed && a.lease(l, n, off, end, len(a.waiters) > 0)
}

// leasePresent leases the blocks of a range whose bytes can be read.
func (a *Arena) leasePresent(l *Lease, n Number, off, end int64) bool {
	found := 0
	for base := roundDown(off, BlockSize); base < end; base += BlockSize {
		i := a.find(n, uint32(base/BlockSize))
		if i == 0 || !a.records[i].have.has(chunksTouching(max(off-base, 0), min(end-base, BlockSize))) {
			return false
		}
		l.ids[found] = i
		found++
	}
	for _, i := range l.ids[:found] {
		a.hold(i)
		a.records[i].leases++
	}
	l.n = found
	a.leases += found
	return true
}

// lease leases all blocks of the range, or none, and then leaves the lists of
// idle blocks as they were. With others ahead in the line there is no memory but
// what exists.
func (a *Arena) lease(l *Lease, n Number, off, end int64, others bool) bool {
	want, own, missing := a.missing(n, off, end)
	if missing > 0 && (others || !a.possible(want, own)) {
		return false
	}
	a.span(n, off, end, func(_ uint32, i id, _ chunks) bool {
		if i != 0 {
			a.hold(i)
			a.records[i].leases++
		}
		return true
	})
	for missing > 0 && !a.met(want) {
		a.evictFor(want, a.victim())
	}
	a.span(n, off, end, func(index uint32, i id, _ chunks) bool {
		if i == 0 {
			i = a.create(n, index)
			a.records[i].leases++
		}
		l.ids[l.n] = i
		l.n++
		return true
	})
	a.leases += l.n
	return true
}

// missing is what the blocks of a range take that do not exist, how many these
// are, and how many frames have idle blocks of the range alone.
func (a *Arena) missing(n Number, off, end int64) (want need, own, missing int) {
	a.span(n, off, end, func(index uint32, i id, _ chunks) bool {
		if i == 0 {
			want.add(a.objects[n].class(index))
			missing++
		} else if a.records[i].list != noList {
			if class, frame, _ := a.place(i); class == large || a.records[frame].leases == 0 {
				own++
			}
		}
		return true
	})
	return want, own, missing
}

// Wait joins the line of those who wait for memory; the lease is not to be touched
// until the ticket is ready or cancelled.
func (a *Arena) Wait(l *Lease, n Number, off, end int64) *Ticket {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &Ticket{lease: l, number: n, off: off, end: end, ready: make(chan struct{})}
	a.waiters = append(a.waiters, t)
	a.grant()
	return t
}

// Cancel leaves the line. What was granted meanwhile is given back. Those behind
// may find enough for them.
func (a *Arena) Cancel(t *Ticket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.granted {
		a.release(t.lease)
	}
	a.waiters = slices.DeleteFunc(a.waiters, func(other *Ticket) bool { return other == t })
	a.grant()
}

// grant gives memory to those who wait for it, in order.
func (a *Arena) grant() {
	for len(a.waiters) > 0 && !a.closed {
		t := a.waiters[0]
		if !a.lease(t.lease, t.number, t.off, t.end, false) {
			return
		}
		a.waiters = a.waiters[1:]
		t.granted = true
		close(t.ready)
	}
}

// Release gives the lease's blocks back. Called again it does nothing.
func (a *Arena) Release(l *Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.release(l)
	a.grant()
}

func (a *Arena) release(l *Lease) {
	for _, i := range l.ids[:l.n] {
		a.leases--
		a.records[i].leases--
		a.rest(i)
	}
	l.n = 0
}

// Served notes that a reader gets the bytes [off, end), which are leased and can
// be read, and says how many of them for the first time.
func (a *Arena) Served(l *Lease, off, end int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.markRead(l, off, end)
}

func (a *Arena) markRead(l *Lease, off, end int64) (first int64) {
	base := roundDown(off, BlockSize)
	for _, i := range l.ids[:l.n] {
		touched := chunksTouching(max(off-base, 0), min(end-base, BlockSize))
		r := &a.records[i]
		first += int64((touched &^ r.read).count()) * ChunkSize
		r.noteReread(touched)
		r.read |= touched
		base += BlockSize
	}
	return first
}

// AppendSlices appends the memory of [off, end), which l holds, to others. Blocks
// that lie side by side make one slice. No lock is taken.
func (a *Arena) AppendSlices(to [][]byte, l *Lease, off, end int64) [][]byte {
	next := int64(-1) // where the slice before ends
	base := roundDown(off, BlockSize)
	for _, i := range l.ids[:l.n] {
		at := a.offset(i)
		lo, hi := at+max(off-base, 0), at+min(end-base, BlockSize)
		if lo == next {
			last := &to[len(to)-1]
			*last = a.memory[lo-int64(len(*last)) : hi : hi]
		} else {
			to = append(to, a.memory[lo:hi:hi])
		}
		next = hi
		base += BlockSize
	}
	return to
}

// Covered says whether all of [off, end) can be read or is claimed.
func (a *Arena) Covered(n Number, off, end int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := true
	a.span(n, off, min(end, a.objects[n].size), func(_ uint32, i id, touched chunks) bool {
		all = i != 0 && (a.records[i].have | a.records[i].claimed).has(touched)
		return all
	})
	return all
}
