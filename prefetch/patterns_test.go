//go:build !race

// The race detector keeps several bytes for each byte of an arena: these loads of
// gigabytes are for builds without it.

package prefetch

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// pattern runs a load over one object of a distant store and returns what it
// fetched and how long it took, in virtual time.
func pattern(t *testing.T, size int64, cfg Config, load func(t *testing.T, c *Cache, obj remote.Object)) (store *shapedStore, took time.Duration) {
	store = distant()
	return store, patternOf(t, store, size, cfg, load)
}

// patternOf is pattern for a given store.
func patternOf(t *testing.T, store *shapedStore, size int64, cfg Config, load func(t *testing.T, c *Cache, obj remote.Object)) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, store, cfg)
		began := time.Now()
		load(t, c, remote.Object{Key: "a", Size: size, Version: "1"})
		took = time.Since(began)
		atRest(t, c)
	})
	t.Logf("%v, %.2f GB/s, %.3f of the size fetched by %d GETs", took, float64(size)/took.Seconds()/1e9, float64(store.fetched)/float64(size), store.gets)
	return took
}

// gpuload's own pattern: readers take parts of 8 MiB from one counter and
// read each by requests of 1 MiB.
func TestPartsFromOneCounter(t *testing.T) {
	const size, part = 2 * gib, 8 * mib
	store, took := pattern(t, size, Config{MemoryLimit: 4 * gib}, func(t *testing.T, c *Cache, obj remote.Object) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				r := c.Open(obj)
				defer r.Close()
				for off := next.Add(part) - part; off < size; off = next.Add(part) - part {
					consume(t, r, off, off+part, mib, 1)
				}
			})
		}
		wg.Wait()
	})
	if got := size / took.Seconds() / store.Total; got < 0.93 {
		t.Errorf("%.2f of the line", got)
	}
	if store.fetched > size*102/100 {
		t.Errorf("fetched %.3f of the size", float64(store.fetched)/size)
	}
}

// One reader that skips seven of eight tensors. A near store is asked for more
// at once, and still for little that is not wanted.
func TestSkippedTensorsAreNotFetched(t *testing.T) {
	for _, tc := range []struct {
		name   string
		store  *shapedStore
		tensor int64
		most   float64 // of what was asked for
		gets   int
	}{
		{"distant", distant(), 32 * mib, 1.3, 400},
		{"near, 8 MiB", near(), 8 * mib, 1.2, 280},
		{"near, 16 MiB", near(), 16 * mib, 1.2, 260},
		{"near, 32 MiB", near(), 32 * mib, 1.2, 190},
		{"near, 64 MiB", near(), 64 * mib, 1.2, 130},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const size = 4 * gib
			const asked = size / 8
			patternOf(t, tc.store, size, Config{MemoryLimit: 2 * gib}, func(t *testing.T, c *Cache, obj remote.Object) {
				r := c.Open(obj)
				defer r.Close()
				consume(t, r, 0, 16<<10, 16<<10, 1)
				for off := int64(0); off < size; off += 8 * tc.tensor {
					consume(t, r, off, off+tc.tensor, mib, 4)
				}
			})
			if got := float64(tc.store.fetched) / asked; got > tc.most {
				t.Errorf("fetched %.2f of what was asked for", got)
			}
			if tc.store.gets > tc.gets {
				t.Errorf("%d GETs, want at most %d", tc.store.gets, tc.gets)
			}
		})
	}
}

// Eight ranks, started up to half a second apart, each reading its eighth of
// every tensor, from a checkpoint of four times the memory. (Behind a mount the
// page cache helps too, and a second apart is no more.)
func TestTensorParallelRanksFetchOnce(t *testing.T) {
	const size, ranks = 2 * gib, 8
	tensors := []int64{32 * mib, 8 * mib, 64 * mib, 24 * mib}
	byRows := func(t *testing.T, r *Reader, rank, off, n int64) {
		consume(t, r, off+rank*n/ranks, off+(rank+1)*n/ranks, mib, 4)
	}
	byColumns := func(t *testing.T, r *Reader, _, off, n int64) {
		consume(t, r, off, off+n, mib, 4) // every page holds some of every rank's columns
	}
	for name, read := range map[string]func(t *testing.T, r *Reader, rank, off, n int64){"rows": byRows, "columns": byColumns} {
		t.Run(name, func(t *testing.T) {
			store, _ := pattern(t, size, Config{MemoryLimit: size / 4}, func(t *testing.T, c *Cache, obj remote.Object) {
				var wg sync.WaitGroup
				for rank := range int64(ranks) {
					wg.Go(func() {
						time.Sleep(time.Duration(rank) * time.Second / 2 / ranks)
						r := c.Open(obj)
						defer r.Close()
						for i, off := 0, int64(0); off < size; i++ {
							n := min(tensors[i%len(tensors)], size-off)
							read(t, r, rank, off, n)
							off += n
						}
					})
				}
				wg.Wait()
			})
			if store.fetched > size*11/10 {
				t.Errorf("fetched %.2f of the size", float64(store.fetched)/size)
			}
		})
	}
}

// Two readers of the whole object, one starting late.
func TestLateReaderFetchesNothingAgain(t *testing.T) {
	const size = gib
	store, _ := pattern(t, size, Config{MemoryLimit: 256 * mib}, func(t *testing.T, c *Cache, obj remote.Object) {
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				r := c.Open(obj)
				defer r.Close()
				consume(t, r, 0, size, mib, 4)
			})
		}
		wg.Wait()
	})
	if store.fetched > size*102/100 {
		t.Errorf("fetched %.3f of the size", float64(store.fetched)/size)
	}
}

// Eight bytes, then the header: the second read costs no round trip.
func TestHeaderCostsOneRoundTrip(t *testing.T) {
	_, took := pattern(t, gib, Config{}, func(t *testing.T, c *Cache, obj remote.Object) {
		r := c.Open(obj)
		defer r.Close()
		consume(t, r, 0, 16<<10, 16<<10, 1)
		consume(t, r, 16<<10, 256<<10, 128<<10, 1)
	})
	if took > 45*time.Millisecond {
		t.Errorf("took %v with 30 ms to the first byte", took)
	}
}

// A thousand random reads of 128 KiB by eight threads.
func TestRandomReadsCostOneRoundTrip(t *testing.T) {
	const size, reads, n = 2 * gib, 1000, 128 << 10
	var times []time.Duration
	store, _ := pattern(t, size, Config{MemoryLimit: 512 * mib}, func(t *testing.T, c *Cache, obj remote.Object) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range uint64(8) {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(i, 1))
				r := c.Open(obj)
				defer r.Close()
				for range reads / 8 {
					began := time.Now()
					off := random.Int64N(size - n)
					consume(t, r, off, off+n, n, 1)
					mu.Lock()
					times = append(times, time.Since(began))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
	if got := median(times); got > 42*time.Millisecond {
		t.Errorf("median %v with 30 ms to the first byte", got)
	}
	if store.fetched > 8*reads*n {
		t.Errorf("fetched %d bytes for %d asked", store.fetched, reads*n)
	}
}

// Four shards one after the other: the next is on its way before it is opened.
func TestShardsInARowFillTheLine(t *testing.T) {
	const shard = gib / 2
	object := func(i int) remote.Object { return remote.Object{Key: string(rune('1' + i)), Size: shard, Version: "1"} }
	cfg := Config{MemoryLimit: 2 * gib, Successor: func(obj remote.Object) (remote.Object, bool) {
		i := int(obj.Key[0]-'1') + 1
		return object(i), i < 4
	}}
	store, took := pattern(t, 4*shard, cfg, func(t *testing.T, c *Cache, _ remote.Object) {
		for i := range 4 {
			r := c.Open(object(i))
			consume(t, r, 0, 16<<10, 16<<10, 1)
			consume(t, r, 16<<10, shard, mib, 4)
			r.Close()
		}
	})
	if got := 4 * shard / took.Seconds() / store.Total; got < 0.93 {
		t.Errorf("%.2f of the line", got)
	}
	if store.fetched > 4*shard*102/100 {
		t.Errorf("fetched %.3f of the size", float64(store.fetched)/(4*shard))
	}
}
