package names

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// listingOf is a listing of the source.
func listingOf(entries ...remote.Entry) *Listing {
	text, records := pack("", entries)
	return newListing(table{texts: []string{text}, records: records})
}

func TestWalkSteps(t *testing.T) {
	// d0 f d1 d2 f d3 ... with directories at 0, 2, 3, 5, 6, 8, 9 and so on.
	var entries []remote.Entry
	for i := range 30 {
		if i%3 == 1 {
			entries = append(entries, file(fmt.Sprintf("%02d", i)))
		} else {
			entries = append(entries, folderAt(fmt.Sprintf("%02d", i)))
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
		w := newWalk(listingOf(entries...), c.first)
		for i, s := range c.steps {
			if got := w.step(s.index, s.room); !slices.Equal(got, s.want) {
				t.Errorf("%s, step %d: %v, want %v", c.name, i, got, s.want)
			}
		}
	}
}

// nested is a store of n folders with one file each, which takes 50 ms for a
// request, as S3 does.
func nested(n int) *pagedStore {
	dirs := map[string]content{}
	var root []remote.Entry
	for i := range n {
		dir := fmt.Sprintf("d%04d", i)
		root = append(root, folderAt(dir))
		dirs[dir] = these(file(dir + "/f"))
	}
	dirs[""] = these(root...)
	store := newStore(dirs)
	store.delay = 50 * time.Millisecond
	return store
}

func TestWalkIsListedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := nested(1000)
		c := open(t, store, Config{})
		start := time.Now()
		root, err := c.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range root.Len() {
			if _, err := c.List(t.Context(), root.Entry(i).Key); err != nil {
				t.Fatal(err)
			}
		}
		// One after the other would take 1,001 times 50 ms.
		if took := time.Since(start); took > 1000*50*time.Millisecond/20 {
			t.Errorf("the walk took %v", took)
		}
		for i := range root.Len() {
			if got := store.count("page " + root.Entry(i).Key); got != 1 {
				t.Fatalf("%s was listed %d times", root.Entry(i).Key, got)
			}
		}
		if store.most > maxAhead+1 {
			t.Errorf("%d listings at once", store.most)
		}
	})
}

func TestOneFolderIsNoWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := nested(100)
		c := open(t, store, Config{})
		if _, err := c.List(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, key := range []string{"d0007/f", "d0042/f"} {
				if _, err := lookup(t.Context(), c, key); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second) // what is listed ahead has come
		if got := store.count("page d0008") + store.count("page d0043"); got != 0 {
			t.Errorf("%d folders were listed that nobody asked for", got)
		}
	})
}
