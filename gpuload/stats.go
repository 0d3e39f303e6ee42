package gpuload

import (
	"sync"
	"time"
)

// Stats says how a load went. Durations are measured from the call of Load
// unless they say otherwise.
type Stats struct {
	// Files, Tensors and Bytes are what was loaded; Bytes are those of the
	// tensors, without headers.
	Files, Tensors int
	Bytes          int64
	// Elapsed is the whole load.
	Elapsed time.Duration
	// Concurrency is the number of readers asked for, Readers that of those that
	// ran: fewer where there were fewer parts, or staging for fewer.
	Concurrency, Readers int
	// PartBytes is what a reader asked for at a time, PieceBytes what was staged
	// and copied at a time.
	PartBytes, PieceBytes int64
	// StagingPeakBytes is the most staging memory held at a time, with what was
	// copied from leases.
	StagingPeakBytes int64
	// LeasedBytes is how much came from leases of a mount's memory, headers
	// included.
	LeasedBytes int64
	// InPlaceBytes is how much of that was copied to the device from where it was
	// leased, and not by way of staging.
	InPlaceBytes int64
	Phases       Phases
}

// Phases are points in a load's time, and where its readers spent theirs.
type Phases struct {
	// Header is when the last header was parsed and its memory allocated, which
	// waits for a device that is still being opened.
	Header time.Duration
	// FirstByte is when the first piece was in staging.
	FirstByte time.Duration
	// FirstTensor is when the first tensor with bytes was delivered.
	FirstTensor time.Duration
	// Read is when the last byte was in staging.
	Read time.Duration
	// Copy is for how long at least one copy was under way.
	Copy time.Duration
	// Tail is how long the last copies took after the last read.
	Tail time.Duration
	// Reading, Waiting and Parsing are summed over the readers: for the source,
	// for staging to come free and memory to be had, which is to say for the
	// device, and for the headers of files whose bytes they had.
	Reading, Waiting, Parsing time.Duration
}

// Bound says what the load waited for: "source", "device" or "headers".
func (s Stats) Bound() string {
	p := s.Phases
	switch {
	case p.Parsing > max(p.Reading, p.Waiting):
		return "headers"
	case p.Waiting > p.Reading:
		return "device"
	}
	return "source"
}

// BytesPerSecond is 0 for a load that took no time.
func (s Stats) BytesPerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Bytes) / s.Elapsed.Seconds()
}

// clock takes the times of a load. Safe for concurrent use.
type clock struct {
	start time.Time

	mu      sync.Mutex
	phases  Phases        // guarded by mu
	copying int           // guarded by mu; copies under way
	since   time.Duration // guarded by mu; when the first of them began
}

func newClock() *clock { return &clock{start: time.Now()} }

// mark sets the phase to now, once.
func (c *clock) mark(phase func(*Phases) *time.Duration) {
	now := time.Since(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := phase(&c.phases); *p == 0 {
		*p = max(now, 1)
	}
}

// copies adds n, 1 or -1, to the copies under way.
func (c *clock) copies(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Since(c.start)
	if c.copying == 0 {
		c.since = now
	}
	if c.copying += n; c.copying == 0 {
		c.phases.Copy += now - c.since
	}
}

// read notes that a reader has nothing left to read.
func (c *clock) read() {
	now := time.Since(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phases.Read = max(c.phases.Read, now)
}

// reader adds one reader's time as it ends.
func (c *clock) reader(reading, waiting, parsing time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phases.Reading += reading
	c.phases.Waiting += waiting
	c.phases.Parsing += parsing
}

// end returns the phases and the time since the start.
func (c *clock) end() (Phases, time.Duration) {
	now := time.Since(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phases.Tail = now - c.phases.Read
	return c.phases, now
}
