package prefetch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

func TestWalkSteps(t *testing.T) {
	// d0 f d1 d2 f d3 ... with directories at 0, 2, 3, 5, 6, 8, 9 and so on.
	var entries []remote.Entry
	for i := range 30 {
		if i%3 == 1 {
			entries = append(entries, fileEntry(fmt.Sprintf("%02d", i)))
		} else {
			entries = append(entries, dirEntry(fmt.Sprintf("%02d", i)))
		}
	}
	type step struct {
		index, room int
		want        []int
	}
	cases := []struct {
		name  string
		first int
		steps []step
	}{
		{"in order", 0, []step{
			{2, 9, []int{3, 5}}, {3, 9, []int{6, 8, 9}}, {5, 9, []int{11, 12, 14, 15, 17}}, {6, 9, []int{18, 20, 21, 23, 24, 26, 27, 29}},
		}},
		{"no room", 0, []step{{2, 0, nil}, {3, 1, []int{5}}, {5, 9, []int{6, 8, 9, 11, 12, 14, 15, 17}}}},
		{"again and again the same", 0, []step{{0, 9, nil}, {0, 9, nil}, {2, 9, []int{3, 5}}, {2, 9, nil}}},
		{"out of order", 0, []step{{5, 9, nil}, {6, 9, []int{8, 9}}, {0, 9, nil}, {2, 9, []int{3, 5}}}},
		{"at the end", 26, []step{{27, 9, []int{29}}, {29, 9, nil}}},
	}
	for _, c := range cases {
		w := newWalk(entries, c.first)
		for i, s := range c.steps {
			if got := w.step(entries, s.index, s.room); !slices.Equal(got, s.want) {
				t.Errorf("%s, step %d: %v, want %v", c.name, i, got, s.want)
			}
		}
	}
}

// slow has store take 50 ms for a listing, as S3 does, and tells how many were
// under way at once.
func slow(store *memstore.Store) (most func() int) {
	var mu sync.Mutex
	var now, highest int
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		now += by
		highest = max(highest, now)
	}
	store.Hook(memstore.Hooks{List: func(context.Context, string) error {
		count(1)
		defer count(-1)
		time.Sleep(50 * time.Millisecond)
		return nil
	}})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return highest
	}
}

// folders is a store of n folders with one file each.
func folders(n int) *memstore.Store {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("d%04d/f", i))
	}
	return filesOf(keys...)
}

func TestWalkIsListedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := folders(1000)
		most := slow(store)
		l := newTestListings(t, store, ListingsConfig{})
		start := time.Now()
		root, err := l.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range root.Entries() {
			if _, err := l.List(t.Context(), dir.Key); err != nil {
				t.Fatal(err)
			}
		}
		// One after the other would take 1,001 times 50 ms.
		if took := time.Since(start); took > 1000*50*time.Millisecond/20 {
			t.Errorf("the walk took %v", took)
		}
		for _, dir := range root.Entries() {
			if got := store.Listed(dir.Key); got != 1 {
				t.Fatalf("%s was listed %d times", dir.Key, got)
			}
		}
		if got := most(); got > maxAhead+1 {
			t.Errorf("%d listings at once", got)
		}
	})
}

func TestOneFolderIsNoWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := folders(100)
		slow(store)
		l := newTestListings(t, store, ListingsConfig{})
		if _, err := l.List(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, key := range []string{"d0007/f", "d0042/f"} {
				if _, err := lookup(t.Context(), l, key); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second) // what is listed ahead has come
		if got := store.Listed("d0008") + store.Listed("d0043"); got != 0 {
			t.Errorf("%d folders were listed that nobody asked for", got)
		}
	})
}
