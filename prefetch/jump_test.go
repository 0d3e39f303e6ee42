//go:build !race

package prefetch

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"weightfs/remote"
)

// A read that jumps into what is being fetched waits for one round trip and a
// half at most, not for all that comes before it in its GET.
func TestJumpIntoAPartUnderWay(t *testing.T) {
	for _, by := range []int64{5, 12, 20, 35, 50, 61, 63} { // MiB beyond the reader
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			store, _ := pattern(t, gib, Config{MemoryLimit: gib}, func(t *testing.T, c *Cache, obj remote.Object) {
				r := c.Open(obj)
				defer r.Close()
				consume(t, r, 0, 64*mib, mib, 4)
				began := time.Now()
				off := (64+by)*mib + 512<<10
				consume(t, r, off, off+(64<<10), 64<<10, 1)
				if took := time.Since(began); took > 45*time.Millisecond {
					t.Errorf("took %v with 30 ms to the first byte", took)
				}
				consume(t, r, 64*mib, 256*mib, mib, 4)
			})
			if store.fetched > 256*mib+192*mib {
				t.Errorf("fetched %d MiB of 256 and a window", store.fetched/mib)
			}
		})
	}
}

// A second reader that starts in the middle of a file has nothing of the first
// one's cancelled, which is read on as fast as before but for the moment in which
// the second catches up.
func TestSecondReaderCancelsNothing(t *testing.T) {
	store := newShapedStore(30*time.Millisecond, 40e6, 400e6)
	waits := 0 // of the first
	patternOf(t, store, gib, Config{MemoryLimit: gib}, func(t *testing.T, c *Cache, obj remote.Object) {
		const pace = 10 * time.Millisecond // of a MiB: 105 MB/s
		paced := func(r *Reader, lo, hi int64, waits *int) {
			due := time.Now()
			for off := lo; off < hi; off += mib {
				time.Sleep(time.Until(due))
				began := time.Now()
				if consume(t, r, off, off+mib, mib, 1); time.Since(began) > time.Millisecond {
					*waits++
				}
				due = due.Add(pace)
			}
		}
		first, second := c.Open(obj), c.Open(obj)
		defer first.Close()
		defer second.Close()
		var others int
		paced(first, 0, 96*mib, &others)
		var wg sync.WaitGroup
		wg.Go(func() { paced(first, 96*mib, 256*mib, &waits) })
		wg.Go(func() { paced(second, gib/2, gib/2+160*mib, &others) })
		wg.Wait()
		if store.cancelled > 0 || waits > 2 {
			t.Errorf("%d GETs were cancelled, the first waits %d times", store.cancelled, waits)
		}
	})
}
