// Package latency counts how long things took, in buckets that are fixed: an
// observation is two atomic additions, and takes no lock and no memory. What is
// timed, and when the clock is read, is its callers' affair.
package latency

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// smallest is the bound of the first bucket. A READ of 4 KiB from the cache
	// takes 20 us with its two copies.
	smallest = 16 * time.Microsecond
	// Buckets is how many there are: each has twice the bound of the one before, up
	// to 268 s, and the last one none. A read waits for five minutes at most.
	Buckets = 26
)

// Bound is the longest time that the bucket counts; the last one has none, and is
// not to be asked for.
func Bound(bucket int) time.Duration { return smallest << bucket }

// bucketOf is the bucket of a time.
func bucketOf(d time.Duration) int {
	units := uint64(max(d, 1)-1) / uint64(smallest)
	return min(bits.Len64(units), Buckets-1)
}

// Histogram counts times. The zero value is ready; safe for concurrent use.
type Histogram struct {
	counts [Buckets]atomic.Int64
	sum    atomic.Int64 // in nanoseconds
}

// Observe counts one time.
func (h *Histogram) Observe(d time.Duration) {
	h.counts[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
}

// Counts are what a Histogram has counted.
type Counts struct {
	Buckets [Buckets]int64 // not cumulative
	Sum     time.Duration
}

// Total is how many times were counted.
func (c Counts) Total() (n int64) {
	for _, count := range c.Buckets {
		n += count
	}
	return n
}

// Counts returns what was counted so far.
func (h *Histogram) Counts() Counts {
	c := Counts{Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		c.Buckets[i] = h.counts[i].Load()
	}
	return c
}
