package prefetch

import "testing"

// BenchmarkCachedView is the cost of a view of 1 MiB that is in the cache: one
// allocation, no copy.
func BenchmarkCachedView(b *testing.B) {
	const size = 64 * mib
	store := newMemStore(b, map[string]int64{"a": size})
	c := newCache(b, store, Config{MemoryLimit: 128 * mib})
	r := c.Open(store.Object("a"))
	defer r.Close()
	if err := readAll(b.Context(), r, store.Data("a"), mib); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		v, err := r.View(b.Context(), off, mib)
		if err != nil {
			b.Fatal(err)
		}
		v.Release()
		off = (off + mib) % size
	}
}

// BenchmarkMissedView is the cost of a view of 1 MiB that has to be fetched,
// from a store that costs one copy.
func BenchmarkMissedView(b *testing.B) {
	const size = 256 * mib
	store := newMemStore(b, map[string]int64{"a": size})
	c := newCache(b, store, Config{MemoryLimit: 32 * mib})
	r := c.Open(store.Object("a"))
	defer r.Close()
	b.SetBytes(mib)
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		v, err := r.View(b.Context(), off, mib)
		if err != nil {
			b.Fatal(err)
		}
		v.Release()
		off = (off + mib) % size
	}
}
