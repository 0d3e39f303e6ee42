package prefetch

import "testing"

// TestVictim holds which block demand takes. Blocks are named by their index;
// of the read ones the first was read first, of the unread ones the first landed
// first.
func TestVictim(t *testing.T) {
	stream := func(pos int64) *cursor { return &cursor{start: pos, pos: pos, window: mib} }
	for _, tc := range []struct {
		name         string
		read, unread []int64
		refused      []int64   // by the policy
		streams      []*cursor // of the file
		fetched      uint64    // since the unread ones landed
		want         int64
	}{
		{name: "the longest unused", read: []int64{5, 6, 7}, want: 5},
		{name: "what the policy advises against", read: []int64{5, 6, 7}, refused: []int64{6}, want: 6},
		{name: "not what a stream comes to", read: []int64{5, 2, 7}, streams: []*cursor{stream(4 * mib)}, want: 2},
		{
			name: "nor if the policy advises against it", read: []int64{5, 2}, refused: []int64{5},
			streams: []*cursor{stream(4 * mib)}, want: 2,
		},
		{name: "of those the one read last", read: []int64{5, 6, 7}, streams: []*cursor{stream(4 * mib)}, want: 7},
		{name: "a read one before an unread one", read: []int64{5}, unread: []int64{8, 9}, want: 5},
		{name: "unread, the one that landed last", unread: []int64{8, 9}, want: 9},
		{name: "unread, but a dead stream's first", unread: []int64{8, 9}, fetched: 1 << 40, want: 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCache(t, newMemStore(t, nil), Config{MemoryLimit: MinMemoryLimit})
			c.mu.Lock()
			defer c.mu.Unlock()
			f := &file{id: 1, cursors: cursors{list: tc.streams}}
			c.clock = 1
			for _, index := range tc.read {
				c.retained.pushFront(&block{file: f, index: index, id: f.blockID(index)})
			}
			for _, index := range tc.unread {
				c.unread.pushFront(&block{file: f, index: index, fetchedAt: c.clock})
			}
			for _, index := range tc.refused {
				c.adviser.refuse(f.blockID(index))
			}
			for _, s := range tc.streams {
				s.used = c.clock
			}
			c.clock += tc.fetched
			if got := c.victim().index; got != tc.want {
				t.Errorf("block %d is taken, want %d", got, tc.want)
			}
		})
	}
}
