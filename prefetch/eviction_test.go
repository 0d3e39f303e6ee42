package prefetch

import (
	"slices"
	"sync/atomic"
	"testing"
)

// idleBlocks is what an eviction chooses from. Blocks are named by their index;
// of the read ones the first was read first, of the unread ones the first landed
// first.
type idleBlocks struct {
	read, unread []int64
	refused      []int64   // by the policy
	streams      []*cursor // of the file
	old          bool      // much was fetched since the unread ones landed
}

// eviction has the blocks in lists.
func (i idleBlocks) eviction() eviction {
	const landed, later = 1, 1 << 40
	f := &file{id: 1, cursors: cursors{list: i.streams}}
	e := eviction{retained: &blockList{}, unread: &blockList{}, adviser: &adviser{refused: make([]atomic.Uint64, 64)}}
	for _, index := range i.read {
		e.retained.pushFront(&block{file: f, index: index, id: f.blockID(index)})
	}
	for _, index := range i.unread {
		e.unread.pushFront(&block{file: f, index: index, fetchedAt: landed})
	}
	for _, index := range i.refused {
		e.adviser.refuse(f.blockID(index))
	}
	if i.old {
		e.dead = later
	}
	return e
}

// indexOf is the name of a block; -1 for none.
func indexOf(b *block) int64 {
	if b == nil {
		return -1
	}
	return b.index
}

// TestVictim holds which block demand takes, and which speculation, if any.
func TestVictim(t *testing.T) {
	comesTo := func(pos int64) []*cursor { return []*cursor{{start: pos, pos: pos, window: mib}} }
	const none = -1
	for _, tc := range []struct {
		name   string
		blocks idleBlocks
		demand int64
		spare  int64 // for speculation
	}{
		{"nothing", idleBlocks{}, none, none},
		{"the longest unused", idleBlocks{read: []int64{5, 6, 7}}, 5, 5},
		{"what the policy advises against", idleBlocks{read: []int64{5, 6, 7}, refused: []int64{6}}, 6, 6},
		{"not what a stream comes to", idleBlocks{read: []int64{5, 2, 7}, streams: comesTo(4 * mib)}, 2, 2},
		{
			"nor if the policy advises against it",
			idleBlocks{read: []int64{5, 2}, refused: []int64{5}, streams: comesTo(4 * mib)}, 2, 2,
		},
		{"of those the one read last", idleBlocks{read: []int64{5, 6, 7}, streams: comesTo(4 * mib)}, 7, none},
		{"a read one before an unread one", idleBlocks{read: []int64{5}, unread: []int64{8, 9}}, 5, 5},
		{"unread, the one that landed last", idleBlocks{unread: []int64{8, 9}}, 9, none},
		{"unread, but a dead stream's first", idleBlocks{unread: []int64{8, 9}, old: true}, 8, 8},
		{
			"awaited, or a dead stream's",
			idleBlocks{read: []int64{5}, unread: []int64{8}, streams: comesTo(4 * mib), old: true}, 5, 8,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := tc.blocks.eviction()
			if got := indexOf(e.victim()); got != tc.demand {
				t.Errorf("demand takes block %d, want %d", got, tc.demand)
			}
			if got := indexOf(e.spare()); got != tc.spare {
				t.Errorf("speculation takes block %d, want %d", got, tc.spare)
			}
		})
	}
}

// TestVictimIsSoughtNearTheEnd holds that advice on blocks used lately is not
// looked for.
func TestVictimIsSoughtNearTheEnd(t *testing.T) {
	var i idleBlocks
	for index := range int64(2 * adviceDepth) {
		i.read = append(i.read, index)
	}
	i.refused = []int64{adviceDepth}
	if got := i.eviction().victim().index; got != 0 {
		t.Errorf("block %d is taken", got)
	}
}

// order lists the indexes of a list, the front first.
func (l *blockList) order() (indexes []int64) {
	for b := l.front; b != nil; b = b.next {
		indexes = append(indexes, b.index)
	}
	return indexes
}

// TestNoLeaseLeavesTheOrder holds that a view which there is no memory for does
// not put what it found in front: unread blocks there are the first to be taken,
// and it comes back for them.
func TestNoLeaseLeavesTheOrder(t *testing.T) {
	c := newCache(t, newMemStore(t, nil), Config{MemoryLimit: MinMemoryLimit})
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &file{id: 1, blocks: make(map[int64]*block)}
	for c.arena.available() > 0 {
		c.arena.take()
	}
	for index := range int64(4) {
		f.blocks[index] = &block{file: f, index: index, have: 1}
		if index < 2 {
			c.retained.pushBack(f.blocks[index])
		} else {
			c.unread.pushBack(f.blocks[index])
		}
	}
	if c.claimBlocks(&View{cache: c, file: f, n: 5 * mib}) {
		t.Fatal("five blocks were leased of four")
	}
	if got := append(c.retained.order(), c.unread.order()...); !slices.Equal(got, []int64{0, 1, 2, 3}) {
		t.Errorf("blocks %v", got)
	}
	c.retained, c.unread = blockList{}, blockList{}
}
