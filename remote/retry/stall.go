package retry

import (
	"math/bits"
	"sync"
	"time"
)

const (
	// stallFactor is how many times the 99th percentile counts as a stall: far
	// enough that a store that slows down is not asked everything twice.
	stallFactor = 4
	// stallCeiling bounds the effective time-out, however slow the store was.
	stallCeiling = 2 * time.Minute
	// stallSamples is how many observations tell what is usual.
	stallSamples = 8
	// stallMemory is how many observations weigh before they are halved, so
	// that the percentile follows the last few thousand requests.
	stallMemory = 4096
	// Buckets are quarters of a power of two of microseconds: 18% steps.
	bucketsPerDoubling = 4
	stallBuckets       = 32 * bucketsPerDoubling
)

// latencies estimates when waiting has become a stall, from how long requests
// of one kind had to wait for a byte. It is safe for concurrent use; one
// observation per request keeps it off the read path.
type latencies struct {
	// The time-out's lower bound, before stallSamples were observed and then.
	floor, usual time.Duration

	mu      sync.Mutex
	buckets [stallBuckets]uint32 // guarded by mu
	count   uint32               // guarded by mu; sum of buckets
}

// observe records one wait that a byte ended. Those that were cut short do not
// count: where one connection in ten hangs, the 99th percentile would be a stall,
// and the time-out grow by its factor with each of them. A store that is slow
// altogether is learnt of from the attempt that is patient enough.
func (l *latencies) observe(d time.Duration) {
	i := bucketOf(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[i]++
	l.count++
	if l.count < stallMemory {
		return
	}
	l.count = 0
	for i := range l.buckets {
		l.buckets[i] /= 2
		l.count += l.buckets[i]
	}
}

// timeout is how long a wait may last before it is a stall, for a request that
// stalled already stalls times in a row: each doubles it, so that a store that
// is merely slow answers in the end.
func (l *latencies) timeout(stalls int) time.Duration {
	p99, samples := l.p99()
	floor := l.floor
	if samples >= stallSamples {
		floor = l.usual
	}
	d := max(floor, stallFactor*p99)
	for range stalls {
		if d >= stallCeiling {
			break
		}
		d *= 2
	}
	return max(min(d, stallCeiling), floor)
}

// p99 is the upper edge of the bucket that holds the 99th percentile, of so many
// samples.
func (l *latencies) p99() (edge time.Duration, samples uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == 0 {
		return 0, 0
	}
	rest := l.count / 100 // how many may lie above
	for i := stallBuckets - 1; i >= 0; i-- {
		if l.buckets[i] > rest {
			return bucketEdge(i), l.count
		}
		rest -= l.buckets[i]
	}
	return 0, l.count
}

// bucketOf is the bucket of a wait.
func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), bucketsPerDoubling))
	exp := bits.Len64(us) - 1 // at least 2, so that two more bits follow it
	quarter := int(us>>(exp-2)) & (bucketsPerDoubling - 1)
	return min((exp-2)*bucketsPerDoubling+quarter, stallBuckets-1)
}

// bucketEdge is the upper edge of a bucket.
func bucketEdge(i int) time.Duration {
	exp, quarter := i/bucketsPerDoubling, i%bucketsPerDoubling
	return time.Duration(bucketsPerDoubling+quarter+1) << exp * time.Microsecond
}
