//go:build !race

// The race detector keeps several bytes for each byte of an arena: these loads of
// gigabytes are for builds without it.

package prefetch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// Sixty-four readers on eight files, half of them sequential and half random:
// within each half the slowest gets at least a quarter of the median, whatever
// the memory.
func TestNobodyStarves(t *testing.T) {
	const readers, files, size = 64, 8, gib
	for _, memory := range []int64{64 * mib, 256 * mib, 4 * gib} {
		t.Run(fmt.Sprintf("%d MiB", memory/mib), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, distant(), Config{MemoryLimit: memory})
				var got [readers]int64
				end := time.Now().Add(5 * time.Second)
				var wg sync.WaitGroup
				for i := range readers {
					wg.Go(func() {
						r := c.Open(remote.Object{Key: fmt.Sprint(i % files), Size: size, Version: "1"})
						defer r.Close()
						random := rand.New(rand.NewPCG(uint64(i), 3))
						off := int64(i/files) * size / 8
						for time.Now().Before(end) {
							n := int64(mib)
							if i >= readers/2 {
								n = 128 << 10
								off = random.Int64N(size - n)
							}
							consume(t, r, off, min(off+n, size), int(n), 1)
							got[i] += n
							off = (off + n) % size
						}
					})
				}
				wg.Wait()
				for _, half := range [][]int64{got[:readers/2], got[readers/2:]} {
					slowest, middle := slices.Min(half), median(half)
					t.Logf("slowest %d MiB, median %d MiB", slowest/mib, middle/mib)
					if slowest*4 < middle {
						t.Errorf("the slowest got %d bytes, the median %d", slowest, middle)
					}
				}
				atRest(t, c)
			})
		})
	}
}
