package prefetch

import (
	"sync"
	"time"
)

// meter adds up for how long things of one kind last, such as waits, those that are
// not over among them: two that last a second are two seconds. The zero value is
// ready. Reads that find their bytes come by none.
type meter struct {
	mu    sync.Mutex
	now   int64         // how many there are; guarded by mu, as are all below
	since time.Time     // of the last change
	total time.Duration // until then
}

// begin notes that one more began.
func (m *meter) begin(now time.Time) { m.change(1, now) }

// end notes that one is over.
func (m *meter) end(now time.Time) { m.change(-1, now) }

func (m *meter) change(by int64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total += m.sinceThen(now)
	m.now += by
	m.since = now
}

// read is how many there are, and how long all have lasted so far.
func (m *meter) read(now time.Time) (there int64, total time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.total + m.sinceThen(now)
}

func (m *meter) sinceThen(now time.Time) time.Duration {
	return time.Duration(m.now) * now.Sub(m.since)
}
