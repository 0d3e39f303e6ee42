package stream

import "time"

// Bounds and pace of the adaptive concurrency.
const (
	// MaxConcurrency is the most GETs at once.
	MaxConcurrency = 256
	// startConcurrency carries 500 MB/s from a store of 30 ms and 40 MB/s a
	// connection; 16 carry three quarters of it.
	startConcurrency = 32
	// samplePeriod is the least time over which throughput is judged: several
	// round trips of a distant store.
	samplePeriod = 150 * time.Millisecond
	// minGain is the gain in throughput that pays for half as many requests
	// again.
	minGain = 1.06
	// retryPeriods is how many periods pass before a limit that did not pay is tried
	// again: stores and networks change.
	retryPeriods = 40
)

// Concurrency is how many GETs may be under way at once. With fixed > 0 it is
// that; otherwise it grows by half while throughput grows. Pure: fed with time
// and bytes. Not safe for concurrent use.
type Concurrency struct {
	fixed int

	limit     int
	best      float64 // bytes per second seen at the limit before
	before    int     // the limit before the last growth; 0: not trying
	wait      int     // periods until the next try
	since     time.Time
	bytes     int64
	saturated bool // the limit kept a wanted GET from starting in this period
}

// NewConcurrency starts with a fixed number, or adapts if that is 0.
func NewConcurrency(fixed int) Concurrency {
	return Concurrency{fixed: fixed, limit: max(fixed, 0) + startConcurrency*boolInt(fixed <= 0)}
}

// Speculative is how many GETs may be under way for a speculative one to start.
func (c *Concurrency) Speculative() int { return c.limit }

// Demanded is the same for a GET that a reader waits for: demand does not
// queue behind speculation unless the number was fixed.
func (c *Concurrency) Demanded() int {
	if c.fixed > 0 {
		return c.fixed
	}
	return MaxConcurrency
}

// Saturated notes that a GET had to wait for the limit.
func (c *Concurrency) Saturated() { c.saturated = true }

// Begin notes that the first GET after a time without any starts at now: that
// time says nothing of the throughput, and what was seen before is out of date.
func (c *Concurrency) Begin(now time.Time) {
	c.bytes, c.since, c.saturated = 0, now, false
	c.forget()
}

// forget takes back a growth that was not judged, and with it what it would have
// been judged by: readers that come and go would have it grow each time.
func (c *Concurrency) forget() {
	if c.before > 0 {
		c.limit = c.before
	}
	c.best, c.before = 0, 0
}

// Landed notes n bytes at the time now, and judges once a period. It returns
// the throughput of the period that ended, in bytes per second, or 0.
func (c *Concurrency) Landed(n int64, now time.Time) float64 {
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
func (c *Concurrency) judge(rate float64) {
	if !c.saturated {
		c.forget() // readers or memory bound it: nothing to learn
		return
	}
	if c.before > 0 && rate < c.best*minGain {
		c.limit, c.before, c.wait = c.before, 0, retryPeriods
		return
	}
	if c.wait > 0 {
		c.wait--
		return
	}
	c.best, c.before = rate, c.limit
	c.limit = min(MaxConcurrency, c.limit+c.limit/2)
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
