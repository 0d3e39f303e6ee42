package faults

import (
	"sync"
	"time"
)

const (
	// lateTick is how often the meter wants to run.
	lateTick = 20 * time.Millisecond
	// lateMatters is how late it may be for the machine to count as one that
	// runs: mountd remembers a failed wait for a second, in which many readers of
	// one page may ask one after the other.
	lateMatters = 100 * time.Millisecond
	// lateSlack is what a time-out may be exceeded by on a machine that runs: a
	// child that starts, a reader's pages that the kernel asks for one by one.
	lateSlack = time.Second
)

// lateness is for how long a machine with more to do than processors, or less
// memory than it needs, ran nobody in time.
type lateness struct {
	total   time.Duration
	longest time.Duration
}

// allow is how long a reader may wait for a time-out. Where the machine stood
// still, the kernel's second question for a page can come after the first one
// is forgotten, and has a time-out of its own.
func (l lateness) allow(timeout time.Duration) time.Duration {
	if l.longest < lateMatters {
		return timeout + lateSlack
	}
	return 2*timeout + lateSlack + 2*l.total
}

// lateMeter sees how late a timer is, over and over. It is safe for concurrent
// use.
type lateMeter struct {
	mu    sync.Mutex
	spans map[*lateness]struct{} // under way; guarded by mu
}

// run measures until stop is closed.
func (m *lateMeter) run(stop <-chan struct{}) {
	for last := time.Now(); ; {
		select {
		case <-stop:
			return
		case <-time.After(lateTick):
		}
		now := time.Now()
		late := now.Sub(last) - lateTick
		last = now
		m.mu.Lock()
		for span := range m.spans {
			if late >= lateMatters {
				span.total += late
			}
			span.longest = max(span.longest, late)
		}
		m.mu.Unlock()
	}
}

// during measures fn.
func (m *lateMeter) during(fn func()) lateness {
	span := new(lateness)
	m.mu.Lock()
	m.spans[span] = struct{}{}
	m.mu.Unlock()
	fn()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.spans, span)
	return *span
}
