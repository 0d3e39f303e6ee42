package prefetch

import (
	"testing"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

// TestSecondLevel puts a level that two caches share between their flights and the
// store: what one of them has fetched the other gets without a GET, and what the
// level has lost, or loses while it is read, from the store.
func TestSecondLevel(t *testing.T) {
	const size = 20*mib + 12345
	store := newMemStore(t, map[string]int64{"a": size})
	level := memstore.NewLevel(mib)
	odd := func(off int64) bool { return off/mib%2 == 1 }
	for _, tc := range []struct {
		name        string
		prepare     func()
		least, most int64 // of the bytes that the store is asked for
	}{
		{"empty", func() {}, size, size},
		{"full", func() {}, 0, 0},
		{"half of it", func() { level.Lose(odd) }, 10 * mib, 10 * mib},
		{"full again", func() {}, 0, 0},
		{"each body breaks", func() { level.Break(mib / 2) }, size / 3, size - 1},
		{"another version", func() {
			level.Break(0)
			store.Put("a", memstore.Object{Data: content("b", size)})
		}, size, size},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.prepare()
			gets, before := store.Fetched()
			c := newCache(t, remote.WithLevel(store, level, mib), Config{MemoryLimit: 64 * mib})
			r := c.Open(store.Object("a"))
			defer r.Close()
			for off := int64(0); off < size; off += 300 << 10 {
				if err := readAt(t.Context(), r, store.Data("a"), off, 300<<10); err != nil {
					t.Fatal(err)
				}
			}
			now, after := store.Fetched()
			if got := after - before; got < tc.least || got > tc.most || tc.most == 0 && now != gets {
				t.Errorf("the store was asked for %d bytes by %d GETs, want %d to %d bytes", got, now-gets, tc.least, tc.most)
			}
			if level.Len() < 21 {
				t.Errorf("the level has %d blocks", level.Len())
			}
		})
	}
}
