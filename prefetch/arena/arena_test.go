package arena

import (
	"slices"
	"testing"
)

const mib = 1 << 20

// owner is an object with one stream, which comes to everything from pos on; none
// if pos is 0.
type owner struct{ pos int64 }

func (o owner) Needs(off int64, _ uint64) bool { return o.pos > 0 && o.pos <= off }

func newArena(tb testing.TB, blocks int64) *Arena {
	tb.Helper()
	a, err := New(blocks * BlockSize)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return a
}

// fill fetches [lo, hi) of an object; false if there is no room.
func fill(a *Arena, n Number, lo, hi int64) bool {
	c, ok := a.Claim(n, lo, hi, a.Blocks())
	if ok {
		a.Land(c, lo, hi)
	}
	return ok
}

// read reads what is there, and says whether it is.
func read(t *testing.T, a *Arena, n Number, off, end int64) bool {
	t.Helper()
	var l Lease
	hit, _, err := a.Hit(&l, n, off, end)
	if err != nil {
		t.Fatal(err)
	}
	a.Release(&l)
	return hit
}

// Has says whether all of [off, end) can be read.
func (a *Arena) Has(n Number, off, end int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := true
	a.span(n, off, end, func(_ uint32, i id, touched chunks) bool {
		all = all && i != 0 && a.records[i].have.has(touched)
		return all
	})
	return all
}

// check walks all records and holds the counts to what it finds.
func (a *Arena) check(t interface {
	Helper()
	Fatalf(string, ...any)
}) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	units := map[listName]int64{}
	blocks := make([]int32, len(a.objects))
	unreads := make([]int32, len(a.objects))
	free, cold, idleFrames, used, inflight := int(a.frames-a.fresh), 0, 0, int64(0), int64(0)
	var idle [classes]int
	block := func(i id) {
		r := &a.records[i]
		class, _, _ := a.place(i)
		if a.find(r.object, r.index) != i {
			t.Fatalf("block %d of object %d is not in the index", r.index, r.object)
		}
		if r.idle() != (r.list >= once) || r.have&r.claimed != 0 || (r.claimed != 0) != (r.writers > 0) {
			t.Fatalf("record %d: %+v", i, *r)
		}
		blocks[r.object]++
		used += classUnits[class]
		units[r.list] += classUnits[class]
		if r.list == unread {
			unreads[r.object]++
		}
		if r.writers > 0 {
			inflight += classUnits[class]
		}
		if r.idle() && class != large {
			idle[class]++
		}
	}
	for frame := id(1); frame <= a.fresh; frame++ {
		f := &a.records[frame]
		switch {
		case f.list == freeFrames:
			free++
		case f.list == coldFrames:
			free++
			cold++
		case f.class != large:
			held := 0
			for part := id(0); part < perFrame[f.class]; part++ {
				if uint64(f.have)>>part&1 == 1 {
					i := a.at(int(f.class), frame, part)
					block(i)
					if !a.records[i].idle() {
						held++
					}
				}
			}
			if held != int(f.leases) || f.have == 0 || (f.have.count() < usable[f.class]) != (f.list == partialList(int(f.class))) {
				t.Fatalf("split frame %d with %d held blocks: %+v", frame, held, *f)
			}
			if held == 0 {
				idleFrames++
			}
		default:
			block(frame)
			if f.idle() {
				idleFrames++
			}
		}
	}
	if free != a.free || cold != a.cold || idleFrames != a.idleFrames || used != a.used || inflight != a.inflight || idle != a.idle {
		t.Fatalf("found %d free, %d cold, %d idle frames, %d units, %d in flight, %v idle; counted %d, %d, %d, %d, %d, %v",
			free, cold, idleFrames, used, inflight, idle, a.free, a.cold, a.idleFrames, a.used, a.inflight, a.idle)
	}
	for n := range a.objects {
		if o := a.objects[n]; o.blocks != blocks[n] || o.unread != unreads[n] {
			t.Fatalf("object %d has %d blocks, %d unread; counted %d, %d", n, blocks[n], unreads[n], o.blocks, o.unread)
		}
	}
	for l := once; l < lists; l++ {
		if units[l] != a.lists[l].units {
			t.Fatalf("%d units in list %d, counted %d", units[l], l, a.lists[l].units)
		}
	}
}

// tag is what a chunk's first byte holds.
func tag(n Number, off int64) byte { return byte(int64(n)*31+off/ChunkSize*7) | 1 }

// A block takes the smallest class that holds it: 63 objects of 4 KiB one frame.
func TestSmallBlocksShareAFrame(t *testing.T) {
	for _, tc := range []struct {
		size   int64
		frames int64 // of 63 objects
	}{
		{1, 1}, {4 << 10, 1}, {16 << 10, 1}, {16<<10 + 1, 8}, {128 << 10, 8}, {128<<10 + 1, 63}, {mib, 63}, {mib + 5, 64}, {mib + 100<<10, 71},
	} {
		a := newArena(t, 128)
		for range 63 {
			n := a.Add(owner{}, tc.size, 1)
			for off := int64(0); off < tc.size; off += BlockSize {
				if !fill(a, n, off, min(off+BlockSize, tc.size)) {
					t.Fatal("no room")
				}
			}
		}
		if got := a.Stats().Resident; got != tc.frames {
			t.Errorf("63 objects of %d bytes take %d frames, want %d", tc.size, got, tc.frames)
		}
		a.check(t)
	}
}

// The blocks of a large part lie side by side, so that a view of several is one
// slice.
func TestPartsAreRuns(t *testing.T) {
	a := newArena(t, 64)
	for _, n := range []Number{a.Add(owner{}, 40*mib, 1), a.Add(owner{}, 40*mib, 1)} {
		for lo := int64(0); lo < 40*mib; lo += 8 * mib {
			if !fill(a, n, lo, lo+8*mib) {
				t.Fatal("no room")
			}
			var l Lease
			if hit, _, _ := a.Hit(&l, n, lo+5, lo+4*mib); !hit {
				t.Fatal("not there")
			}
			if n == 1 && len(a.AppendSlices(nil, &l, lo+5, lo+4*mib)) != 1 {
				t.Error("a view of four blocks is not one slice")
			}
			a.Release(&l)
			read(t, a, n, lo+4*mib, lo+8*mib)
		}
	}
}

// idleBlocks is what an eviction chooses from: blocks of one object by their
// index. Of the read ones the first was read first, of the unread ones the first
// landed first.
type idleBlocks struct {
	read, unread []int64
	pos          int64 // of the stream; 0: none
	old          bool  // much was fetched since the unread ones landed
}

// TestVictim holds which block demand takes, and which speculation, if any.
func TestVictim(t *testing.T) {
	const none = -1
	for _, tc := range []struct {
		name   string
		blocks idleBlocks
		demand int64
		spare  int64 // for speculation
	}{
		{"nothing", idleBlocks{}, none, none},
		{"the longest unused", idleBlocks{read: []int64{5, 6, 7}}, 5, 5},
		{"not what a stream comes to", idleBlocks{read: []int64{5, 2, 7}, pos: 4 * mib}, 2, 2},
		{"of those the one read last", idleBlocks{read: []int64{5, 6, 7}, pos: 4 * mib}, 7, none},
		{"a read one before an unread one", idleBlocks{read: []int64{5}, unread: []int64{8, 9}}, 5, 5},
		{"unread, the one that landed last", idleBlocks{unread: []int64{8, 9}}, 9, none},
		{"unread, but a dead stream's first", idleBlocks{unread: []int64{8, 9}, old: true}, 8, 8},
		{"needed, or a dead stream's", idleBlocks{read: []int64{5}, unread: []int64{8}, pos: 4 * mib, old: true}, 5, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newArena(t, 16)
			n := a.Add(owner{tc.blocks.pos}, 100*mib, 1)
			a.SetOpen(n, true)
			for _, index := range append(tc.blocks.read, tc.blocks.unread...) {
				fill(a, n, index*mib, (index+1)*mib)
			}
			for _, index := range tc.blocks.read {
				read(t, a, n, index*mib, (index+1)*mib)
			}
			if tc.blocks.old {
				a.clock.Add(40 * mib)
			}
			index := func(i id) int64 {
				if i == 0 {
					return none
				}
				return int64(a.records[i].index)
			}
			if got := index(a.victim()); got != tc.demand {
				t.Errorf("demand takes block %d, want %d", got, tc.demand)
			}
			if got := index(a.spare()); got != tc.spare {
				t.Errorf("speculation takes block %d, want %d", got, tc.spare)
			}
		})
	}
}

// A view that there is no memory for does not put what it found in front: unread
// blocks there are the first to be taken, and it comes back for them.
func TestNoLeaseLeavesTheOrder(t *testing.T) {
	a := newArena(t, 16)
	n, other := a.Add(owner{}, 100*mib, 1), a.Add(owner{}, 100*mib, 1)
	a.SetOpen(n, true)
	var held [3]Lease
	for i := range held {
		if !a.Lease(&held[i], other, int64(i)*4*mib, int64(i+1)*4*mib) {
			t.Fatal("no memory")
		}
		defer a.Release(&held[i])
	}
	for index := range int64(4) {
		fill(a, n, index*mib, (index+1)*mib)
	}
	read(t, a, n, 0, mib)
	read(t, a, n, mib, 2*mib)
	order := func() (indexes []uint32) {
		for _, l := range []listName{once, unread} {
			for i := a.lists[l].front; i != 0; i = a.records[i].next {
				indexes = append(indexes, a.records[i].index)
			}
		}
		return indexes
	}
	before := order()
	var l Lease
	if a.Lease(&l, n, 0, 5*mib) || l.Held() {
		t.Fatal("five blocks were leased of four")
	}
	if got := order(); !slices.Equal(got, before) {
		t.Errorf("blocks %v, before %v", got, before)
	}
}

// Room for a range is not made of a block of that very range.
func TestRoomIsNotMadeOfTheRangeItself(t *testing.T) {
	a := newArena(t, 16)
	n := a.Add(owner{}, 100*mib, 1)
	var held [4]Lease
	for i, end := range []int64{4, 8, 12, 15} { // one frame is left
		if !a.Lease(&held[i], n, int64(i)*4*mib, end*mib) {
			t.Fatal("no memory")
		}
		defer a.Release(&held[i])
	}
	fill(a, n, 16*mib, 16*mib+ChunkSize)
	if _, ok := a.Claim(n, 16*mib+ChunkSize, 18*mib, 16); ok {
		t.Error("two blocks are claimed of one")
	}
	a.check(t)
}

// Who waits for memory is served in order, and holds nothing meanwhile.
func TestWaitersAreServedInOrder(t *testing.T) {
	a := newArena(t, 16)
	n := a.Add(owner{}, 1000*mib, 1)
	var held [4]Lease
	for i := range held {
		if !a.Lease(&held[i], n, int64(i)*4*mib, int64(i+1)*4*mib) {
			t.Fatal("no memory")
		}
	}
	var waiting [3]Lease
	var tickets [3]*Ticket
	for i := range waiting {
		if a.Lease(&waiting[i], n, int64(20+i*4)*mib, int64(24+i*4)*mib) {
			t.Fatal("there is memory")
		}
		tickets[i] = a.Wait(&waiting[i], n, int64(20+i*4)*mib, int64(24+i*4)*mib)
	}
	if fill(a, n, 100*mib, 101*mib) {
		t.Error("speculation passes the line")
	}
	a.Cancel(tickets[0])
	a.Release(&held[2])
	if waiting[0].Held() || !waiting[1].Held() || waiting[2].Held() {
		t.Error("the second of the line was to be served, and alone")
	}
	a.Release(&held[0])
	<-tickets[2].Ready()
	for _, l := range []*Lease{&held[1], &held[3], &waiting[1], &waiting[2]} {
		a.Release(l)
	}
}

// The second claimant of a split has the rest, and both end.
func TestSplit(t *testing.T) {
	a := newArena(t, 16)
	n := a.Add(owner{}, 16*mib, 1)
	first, _ := a.Claim(n, 0, 8*mib, 16)
	a.Land(first, 0, mib)
	for _, at := range []int64{5*mib + ChunkSize, 4 * mib} {
		tail := a.Split(first, at)
		if first.Hi != at || tail.Lo != at {
			t.Errorf("[%d,%d) and [%d,%d)", first.Lo, first.Hi, tail.Lo, tail.Hi)
		}
		a.Land(tail, tail.Lo, tail.Hi)
		a.check(t)
	}
	a.Land(first, mib, 4*mib)
	if s := a.Stats(); !a.Has(n, 0, 8*mib) || s.InFlight != 0 {
		t.Errorf("after the split %+v", s)
	}
}

// The records and the index of large blocks are at most 64 bytes for each MiB.
func TestBooksAreSmall(t *testing.T) {
	for _, size := range []int64{16 * mib, 1 << 30, 1 << 35, 1<<35 + mib, 1 << 36} {
		a, err := New(size)
		if err != nil {
			t.Fatal(err)
		}
		if got := recordSize*a.Blocks() + 4*int64(len(a.heads)) + 16*int64(len(a.ghosts)); got > 64*a.Blocks() {
			t.Errorf("an arena of %d bytes has %d bytes of books for large blocks", size, got)
		}
		if all := a.Blocks() * (BlockSize + booksPerFrame); all > size+BlockSize {
			t.Errorf("an arena of %d bytes has %d", size, all)
		}
		_ = a.Close()
		if raceEnabled {
			return
		}
	}
}

// A hit is looked up in as long as its blocks are many, however full the arena is.
func BenchmarkLease(b *testing.B) {
	a := newArena(b, 1024)
	n := a.Add(owner{}, 1024*mib, 1)
	for index := range a.Blocks() {
		fill(a, n, index*mib, (index+1)*mib)
	}
	var l Lease
	for i := range b.N {
		off := int64(i) % a.Blocks() * mib
		_, _, _ = a.Hit(&l, n, off, off+mib)
		a.Release(&l)
	}
}
