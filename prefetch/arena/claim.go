package arena

import "fmt"

// Claim is the exclusive right to write the bytes [Lo, Hi) of an object, which
// nobody else fetches. Lo and Hi lie at the bounds of chunks or at the object's
// end.
type Claim struct {
	Lo, Hi int64
	number Number
	ids    []id
}

// Blocks is how many blocks the claim holds.
func (c *Claim) Blocks() int { return len(c.ids) }

func (c *Claim) id(off int64) id { return c.ids[off/BlockSize-c.Lo/BlockSize] }

// Claim claims [lo, hi), of which nothing is there or claimed. Blocks that do not
// exist are speculation: they are made only as long as no more than ahead blocks
// are unread or in flight, and of memory that no stream needs; otherwise the
// answer is false.
func (a *Arena) Claim(n Number, lo, hi, ahead int64) (*Claim, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, false
	}
	if size := a.objects[n].size; lo%ChunkSize != 0 || hi%ChunkSize != 0 && hi != size {
		panic(fmt.Sprintf("arena: claim [%d,%d) of %d bytes splits a chunk", lo, hi, size))
	}
	if !a.reserveAhead(n, lo, hi, ahead) {
		a.short = true
		return nil, false
	}
	c := &Claim{Lo: lo, Hi: hi, number: n, ids: make([]id, 0, (hi-1)/BlockSize-lo/BlockSize+1)}
	a.span(n, lo, hi, func(index uint32, i id, touched chunks) bool {
		if i == 0 {
			i = a.create(n, index)
		}
		a.hold(i)
		a.addWriter(i)
		a.records[i].claimed |= touched
		c.ids = append(c.ids, i)
		return true
	})
	return c, true
}

// MayClaim says whether there is room for any speculation at all.
func (a *Arena) MayClaim(ahead int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	full := a.lists[unread].units+a.inflight >= ahead*classUnits[large] && a.stale() == 0
	a.short = len(a.waiters) > 0 || full || a.free == 0 && a.spare() == 0
	return !a.short
}

// reserveAhead makes room for the blocks of [lo, hi) that do not exist: all or
// nothing.
func (a *Arena) reserveAhead(n Number, lo, hi, ahead int64) bool {
	for {
		want, _, missing := a.missing(n, lo, hi)
		switch {
		case missing == 0:
			return true
		case len(a.waiters) > 0:
			return false
		case a.lists[unread].units+a.inflight+want.units() > ahead*classUnits[large]:
			i := a.stale()
			if i == 0 {
				return false
			}
			a.evict(i)
		case !a.met(want):
			i := a.spare()
			if i == 0 {
				return false
			}
			a.evictFor(want, i) // perhaps a block of the range itself
		default:
			return true
		}
	}
}

func (a *Arena) addWriter(i id) {
	r := &a.records[i]
	if r.writers == 0 {
		a.inflight += a.units(i)
	}
	r.writers++
}

func (a *Arena) removeWriter(i id) {
	r := &a.records[i]
	if r.writers--; r.writers == 0 {
		a.inflight -= a.units(i)
		a.makesRoom()
	}
	a.rest(i)
}

// Memory is where the claimant writes from pos on: to the end of the block or of
// the claim. No lock is taken.
func (a *Arena) Memory(c *Claim, pos int64) []byte {
	base := roundDown(pos, BlockSize)
	return a.bytes(c.id(pos))[pos-base : min(c.Hi-base, BlockSize)]
}

// Land makes the bytes [from, to) of the claim readable. They are no longer
// claimed.
func (a *Arena) Land(c *Claim, from, to int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endClaim(c, from, to, true)
	a.clock.Add(uint64(to - from))
	a.grant()
}

// Abandon gives up what the claim has not landed, from on.
func (a *Arena) Abandon(c *Claim, from int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.endClaim(c, from, c.Hi, false)
		a.grant()
	}
}

func (a *Arena) endClaim(c *Claim, from, to int64, landed bool) {
	for from < to {
		i, base := c.id(from), roundDown(from, BlockSize)
		upto := min(to, base+BlockSize)
		r, done := &a.records[i], chunksTouching(from-base, upto-base)
		r.claimed &^= done
		if landed {
			r.have |= done
		}
		if upto == min(c.Hi, base+BlockSize) {
			a.removeWriter(i)
		}
		from = upto
	}
}

// Split hands the claim's bytes from at on to a claim of their own. Nothing of
// them may have landed, nor be written.
func (a *Arena) Split(c *Claim, at int64) *Claim {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := at/BlockSize - c.Lo/BlockSize
	tail := &Claim{Lo: at, Hi: c.Hi, number: c.number, ids: c.ids[first:]}
	if at%BlockSize != 0 {
		a.addWriter(tail.ids[0])
		first++
	}
	c.Hi, c.ids = at, c.ids[:first:first]
	return tail
}

// Gap is the first maximal range of whole chunks inside [off, end) that is
// neither there nor claimed; ok is false where there is none.
func (a *Arena) Gap(n Number, off, end int64) (lo, hi int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := a.objects[n].size
	a.span(n, off, min(end, size), func(index uint32, i id, wanted chunks) bool {
		if i != 0 {
			wanted &^= a.records[i].have | a.records[i].claimed
		}
		first, last := wanted.firstRun()
		if first == 64 {
			return !ok
		}
		base := int64(index) * BlockSize
		if ok && (first != 0 || hi != base) {
			return false
		}
		if !ok {
			lo, ok = base+first*ChunkSize, true
		}
		hi = base + last*ChunkSize
		return last == 64
	})
	return lo, min(hi, size), ok
}

// GapBelow is the last such range.
func (a *Arena) GapBelow(n Number, off, end int64) (lo, hi int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := a.objects[n].size
	end = min(end, size)
	for index := (end - 1) / BlockSize; index >= 0 && (index+1)*BlockSize > off; index-- {
		base := index * BlockSize
		wanted := chunksTouching(max(off-base, 0), min(end-base, BlockSize))
		if i := a.find(n, uint32(index)); i != 0 {
			wanted &^= a.records[i].have | a.records[i].claimed
		}
		first, last := wanted.lastRun()
		switch {
		case ok && base+last*ChunkSize != lo:
			return lo, hi, true
		case first == last:
			continue
		case !ok:
			hi, ok = min(base+last*ChunkSize, size), true
		}
		lo = base + first*ChunkSize
		if first > 0 {
			return lo, hi, true
		}
	}
	return lo, hi, ok
}
