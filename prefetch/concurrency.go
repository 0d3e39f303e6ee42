package prefetch

import "time"

// Bounds and pace of the adaptive concurrency.
const (
	maxConcurrency = 256
	// startConcurrency carries 500 MB/s from a store of 30 ms and 40 MB/s a
	// connection; 16 carry three quarters of it.
	startConcurrency = 32
	// samplePeriod is the least time over which throughput is judged: several
	// round trips of a distant store.
	samplePeriod = 150 * time.Millisecond
	// worthwhile is the gain in throughput that pays for half as many requests
	// again.
	worthwhile = 1.06
	// settled is how many periods pass before a limit that did not pay is tried
	// again: stores and networks change.
	settled = 40
)

// concurrency is how many GETs may be under way at once. With fixed > 0 it is
// that; otherwise it grows by half while throughput grows. Pure: fed with time
// and bytes. Not safe for concurrent use.
type concurrency struct {
	fixed int

	limit     int
	best      float64 // bytes per second seen at the limit before
	before    int     // the limit before the last growth; 0: not trying
	wait      int     // periods until the next try
	since     time.Time
	bytes     int64
	saturated bool // the limit kept a wanted GET from starting in this period
}

func newConcurrency(fixed int) concurrency {
	return concurrency{fixed: fixed, limit: max(fixed, 0) + startConcurrency*boolInt(fixed <= 0)}
}

// speculative is how many GETs may be under way for a speculative one to start.
func (c *concurrency) speculative() int { return c.limit }

// demanded is the same for a GET that a reader waits for: demand does not
// queue behind speculation unless the number was fixed.
func (c *concurrency) demanded() int {
	if c.fixed > 0 {
		return c.fixed
	}
	return maxConcurrency
}

// hold notes that a GET had to wait for the limit.
func (c *concurrency) hold() { c.saturated = true }

// begin notes that the first GET after a time without any starts at now: that
// time says nothing of the throughput, and what was seen before is out of date.
func (c *concurrency) begin(now time.Time) {
	c.bytes, c.since, c.saturated = 0, now, false
	c.forget()
}

// forget takes back a growth that was not judged, and with it what it would have
// been judged by: readers that come and go would have it grow each time.
func (c *concurrency) forget() {
	if c.before > 0 {
		c.limit = c.before
	}
	c.best, c.before = 0, 0
}

// landed notes n bytes at the time now, and judges once a period. It returns
// the throughput of the period that ended, in bytes per second, or 0.
func (c *concurrency) landed(n int64, now time.Time) float64 {
	c.bytes += n
	if c.since.IsZero() {
		c.since = now
		return 0
	}
	elapsed := now.Sub(c.since)
	if elapsed < samplePeriod {
		return 0
	}
	rate := float64(c.bytes) / elapsed.Seconds()
	if c.fixed == 0 {
		c.judge(rate)
	}
	c.bytes, c.since, c.saturated = 0, now, false
	return rate
}

// judge grows the limit, or takes a growth back that did not pay.
func (c *concurrency) judge(rate float64) {
	if !c.saturated {
		c.forget() // readers or memory bound it: nothing to learn
		return
	}
	if c.before > 0 && rate < c.best*worthwhile {
		c.limit, c.before, c.wait = c.before, 0, settled
		return
	}
	if c.wait > 0 {
		c.wait--
		return
	}
	c.best, c.before = rate, c.limit
	c.limit = min(maxConcurrency, c.limit+c.limit/2)
	if c.limit == c.before {
		c.before = 0
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
