package arena

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAgreesWithAModel does random operations on objects of all classes, by many
// readers and writers. Whatever is there has the bytes that were written for it,
// what is leased keeps them, and the counts are those of all records.
func TestAgreesWithAModel(t *testing.T) {
	t.Run("private", func(t *testing.T) { testAgreesWithAModel(t, New) })
	t.Run("shared", func(t *testing.T) {
		testAgreesWithAModel(t, func(size int64) (*Arena, error) { return NewShared(size, MakeShared) })
	})
}

func testAgreesWithAModel(t *testing.T, make func(size int64) (*Arena, error)) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := make(16 * BlockSize)
		if err != nil {
			t.Fatal(err)
		}
		sizes := []int64{3, ChunkSize, 5*ChunkSize + 1, mib / 8, mib/8 + 1, mib, 2*mib + 7, 9*mib + mib/8, 30 * mib}
		m := model{T: t, arena: a, sizes: map[Number]int64{}}
		for i := range 3 * len(sizes) {
			size := sizes[i%len(sizes)]
			n := a.Add(owner{pos: rapid.SampledFrom([]int64{0, 0, size / 2}).Draw(t, "pos")}, size, uint64(i))
			m.sizes[n] = size
			a.SetOpen(n, true)
		}
		for range rapid.IntRange(1, 150).Draw(t, "operations") {
			m.step()
			a.check(t)
		}
		m.end()
	})
}

type model struct {
	*rapid.T
	arena  *Arena
	sizes  map[Number]int64
	leases []*modelLease
	claims []*modelClaim
}

type modelLease struct {
	Lease
	n        Number
	off, end int64
	ticket   *Ticket
}

type modelClaim struct {
	*Claim
	pos int64
}

// position is a random range of an object.
func (m *model) position() (n Number, off, end int64) {
	n = Number(rapid.IntRange(1, len(m.sizes)).Draw(m.T, "object"))
	size := m.sizes[n]
	off = rapid.Int64Range(0, size-1).Draw(m.T, "off")
	return n, off, rapid.Int64Range(off+1, min(size, off+4*mib)).Draw(m.T, "end")
}

func (m *model) step() {
	a := m.arena
	switch rapid.IntRange(0, 7).Draw(m.T, "operation") {
	case 0, 1:
		m.lease()
	case 2:
		if i := m.pick(len(m.leases)); i >= 0 {
			m.release(i)
		}
	case 3, 4:
		n, off, end := m.position()
		if lo, hi, ok := a.Gap(n, off, end); ok {
			if c, ok := a.Claim(n, lo, hi, rapid.Int64Range(0, 16).Draw(m.T, "ahead")); ok {
				m.claims = append(m.claims, &modelClaim{c, lo})
			}
		}
	case 5:
		if i := m.pick(len(m.claims)); i >= 0 {
			m.land(i)
		}
	case 6:
		a.SetOpen(Number(rapid.IntRange(1, len(m.sizes)).Draw(m.T, "object")), rapid.Bool().Draw(m.T, "open"))
	case 7:
		a.GiveBack(rapid.Int64Range(0, 16).Draw(m.T, "keep"))
	}
}

func (m *model) pick(n int) int {
	if n == 0 {
		return -1
	}
	return rapid.IntRange(0, n-1).Draw(m.T, "which")
}

func (m *model) lease() {
	l := &modelLease{}
	l.n, l.off, l.end = m.position()
	hit, _, err := m.arena.Hit(&l.Lease, l.n, l.off, l.end)
	switch {
	case err != nil || hit != m.arena.Has(l.n, l.off, l.end):
		m.Fatalf("a hit of [%d,%d) of %d: %v, %v", l.off, l.end, l.n, hit, err)
	case !hit && !m.arena.Lease(&l.Lease, l.n, l.off, l.end):
		if l.Held() {
			m.Fatalf("no memory, and blocks are held")
		}
		l.ticket = m.arena.Wait(&l.Lease, l.n, l.off, l.end)
	}
	m.leases = append(m.leases, l)
	m.verify(l)
}

// verify holds the chunks that can be read to what was written.
func (m *model) verify(l *modelLease) {
	if !l.Held() {
		return
	}
	at := l.off
	for _, p := range m.arena.AppendSlices(nil, &l.Lease, l.off, l.end) {
		for k := range p {
			if off := at + int64(k); off%ChunkSize == 0 && m.arena.Has(l.n, off, off+1) && p[k] != tag(l.n, off) {
				m.Fatalf("object %d at %d: %x, want %x", l.n, off, p[k], tag(l.n, off))
			}
		}
		at += int64(len(p))
	}
	if at != l.end {
		m.Fatalf("slices of [%d,%d) end at %d", l.off, l.end, at)
	}
}

func (m *model) release(i int) {
	l := m.leases[i]
	m.verify(l)
	if l.ticket != nil {
		m.arena.Cancel(l.ticket)
	} else {
		m.arena.Release(&l.Lease)
	}
	m.leases = slices.Delete(m.leases, i, i+1)
}

// land lands some of a claim, splits it or gives it up.
func (m *model) land(i int) {
	c := m.claims[i]
	to := rapid.Int64Range(c.pos, c.Hi).Draw(m.T, "to")
	if to < c.Hi {
		to = roundDown(to, ChunkSize)
	}
	switch {
	case to > c.pos && to < c.Hi && rapid.Bool().Draw(m.T, "split"):
		m.claims = append(m.claims, &modelClaim{m.arena.Split(c.Claim, to), to})
		return
	case to <= c.pos:
		m.arena.Abandon(c.Claim, c.pos)
		m.claims = slices.Delete(m.claims, i, i+1)
		return
	}
	for off := c.pos; off < to; off += ChunkSize {
		m.arena.Memory(c.Claim, off)[0] = tag(c.number, off)
	}
	m.arena.Land(c.Claim, c.pos, to)
	if c.pos = to; to == c.Hi {
		m.claims = slices.Delete(m.claims, i, i+1)
	}
}

// end gives everything back; all waits end then.
func (m *model) end() {
	for _, c := range m.claims {
		m.arena.Abandon(c.Claim, c.pos)
	}
	for len(m.leases) > 0 {
		m.release(0)
	}
	if err := m.arena.Close(); err != nil {
		m.Fatal(err)
	}
}
