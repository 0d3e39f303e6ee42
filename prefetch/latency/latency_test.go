package latency

import (
	"math"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	for d, want := range map[time.Duration]int{
		-1: 0, 0: 0, 1: 0, smallest: 0, smallest + 1: 1, 2 * smallest: 1, 2*smallest + 1: 2,
		time.Second: 16, Bound(Buckets - 2): Buckets - 2, Bound(Buckets-2) + 1: Buckets - 1, math.MaxInt64: Buckets - 1,
	} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v: bucket %d, want %d", d, got, want)
		}
		if got := bucketOf(d); got < Buckets-1 && d > Bound(got) || got > 0 && d <= Bound(got-1) {
			t.Errorf("%v is not within the bounds of bucket %d", d, got)
		}
	}
}

func TestCounts(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond, time.Millisecond, time.Hour} {
		h.Observe(d)
	}
	c := h.Counts()
	if c.Total() != 4 || c.Sum != time.Microsecond+2*time.Millisecond+time.Hour || c.Buckets[0] != 1 || c.Buckets[Buckets-1] != 1 {
		t.Errorf("%+v", c)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkObserve is what a READ pays: the clock, twice, and the counting.
func BenchmarkObserve(b *testing.B) {
	var h Histogram
	began := time.Now()
	for b.Loop() {
		from := time.Since(began)
		h.Observe(time.Since(began) - from)
	}
}
