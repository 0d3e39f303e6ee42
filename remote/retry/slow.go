package retry

import (
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// slowFactor is how many times slower than its peers a body is when it is
	// replaced: a sick front end or a lost route, never a share of a full line.
	slowFactor = 8
	// slowSamples is how many bodies must have been read before one is judged,
	// and how many of the last ones are its peers.
	slowSamples = 32
	// slowLeast is how many bytes a body must have given to be a peer: a small
	// one tells of the latency.
	slowLeast = 256 << 10
)

// ErrSlow ends a body that comes far more slowly than its peers, or than
// Policy.MinRate.
var ErrSlow = errors.New("far slower than the other requests")

// rates knows how fast bodies come. It is safe for concurrent use; one
// observation per request keeps it off the read path.
//
// A body is judged by the time in which it was waited for, its peers by all the
// time that they took: where this process did not run for a while, their bytes
// lay in the socket, and nobody waited for them.
type rates struct {
	mu     sync.Mutex
	last   [slowSamples]float64 // guarded by mu; bytes per second, a ring
	count  int                  // guarded by mu
	median float64              // guarded by mu; 0: too few
}

// observe records a body that ended, for whatever reason, so long after it began.
func (r *rates) observe(bytes int64, took time.Duration) {
	if bytes < slowLeast {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[r.count%slowSamples] = float64(bytes) / max(took, time.Microsecond).Seconds()
	r.count++
	if r.count < slowSamples {
		return
	}
	sorted := r.last
	slices.Sort(sorted[:])
	r.median = sorted[slowSamples/2]
}

// slow reports whether a body that gave bytes while it was waited for is far
// slower than its peers.
func (r *rates) slow(bytes int64, waited time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return float64(bytes)*slowFactor < r.median*waited.Seconds()
}
