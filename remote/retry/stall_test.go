package retry

import (
	"testing"
	"time"
)

func TestStallTimeout(t *testing.T) {
	type wait struct {
		d time.Duration
		n int
	}
	cases := []struct {
		name   string
		waits  []wait
		stalls int
		want   time.Duration // within a bucket's width above
	}{
		{"nothing seen", nil, 0, 2 * time.Second},
		{"fast store", []wait{{20 * time.Millisecond, 1000}}, 0, time.Second / 2},
		{"fast store, second try", []wait{{20 * time.Millisecond, 1000}}, 1, time.Second},
		{"fast store, hardly known", []wait{{20 * time.Millisecond, stallSamples - 1}}, 0, 2 * time.Second},
		{"slow store", []wait{{time.Second, 1000}}, 0, 4 * time.Second},
		{"one outlier in a thousand", []wait{{time.Millisecond, 1000}, {30 * time.Second, 1}}, 0, time.Second / 2},
		{"two outliers in a hundred", []wait{{time.Millisecond, 98}, {3 * time.Second, 2}}, 0, 12 * time.Second},
		{"second try", nil, 1, 4 * time.Second},
		{"third try", nil, 2, 8 * time.Second},
		{"many tries", nil, 30, stallCeiling},
		{"very slow store", []wait{{time.Hour, 10}}, 0, stallCeiling},
		{"follows the present", []wait{{10 * time.Second, 1000}, {time.Millisecond, 50_000}}, 0, time.Second / 2},
	}
	for _, c := range cases {
		l := latencies{floor: 2 * time.Second, usual: time.Second / 2}
		for _, w := range c.waits {
			for range w.n {
				l.observe(w.d)
			}
		}
		if got := l.timeout(c.stalls); got < c.want || got > c.want*5/4 {
			t.Errorf("%s: timeout = %v, want about %v", c.name, got, c.want)
		}
	}
}

func TestStallFloorAboveCeiling(t *testing.T) {
	l := latencies{floor: time.Hour, usual: time.Hour}
	if got := l.timeout(3); got != time.Hour {
		t.Errorf("timeout = %v, want the floor", got)
	}
}

func TestBucketsCoverAndOrder(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 7 * time.Microsecond, time.Millisecond, 1234567, time.Second, 90 * time.Second} {
		i := bucketOf(d)
		if edge := bucketEdge(i); d >= edge && d > 8*time.Microsecond {
			t.Errorf("%v is in bucket %d, which ends at %v", d, i, edge)
		}
		if i > 0 && d > 8*time.Microsecond && d < bucketEdge(i-1) {
			t.Errorf("%v is in bucket %d, which begins at %v", d, i, bucketEdge(i-1))
		}
	}
	if got := bucketOf(1 << 62); got != stallBuckets-1 {
		t.Errorf("the longest wait is in bucket %d", got)
	}
}
