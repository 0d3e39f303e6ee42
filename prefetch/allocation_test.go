//go:build !race

// Under the race detector a sync.Pool, as ristretto has one, forgets at random.

package prefetch

import (
	"runtime"
	"testing"
)

// TestCachedViewAllocatesOnce holds what BenchmarkCachedView shows.
func TestCachedViewAllocatesOnce(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 16 * mib})
	c := newCache(t, store, Config{MemoryLimit: 32 * mib})
	r := c.Open(store.Object("a"))
	defer r.Close()
	if err := readAll(t.Context(), r, store.Data("a"), mib); err != nil {
		t.Fatal(err)
	}
	for c.Stats().ActiveFetches > 0 { // the last ones, whose bytes were all read
		runtime.Gosched()
	}
	for _, off := range []int64{0, mib, mib + 512<<10} { // the last one is of two blocks
		n := testing.AllocsPerRun(200, func() {
			v, err := r.View(t.Context(), off, mib)
			if err != nil {
				t.Fatal(err)
			}
			v.Release()
		})
		if n > 1 {
			t.Errorf("a cached view at %d: %v allocations", off, n)
		}
	}
}
