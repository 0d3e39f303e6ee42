package prefetch

import (
	"sync"
	"time"
)

// waitMeter adds up how long readers wait, those that still do among them. Only
// reads that wait come by here. The zero value is ready.
type waitMeter struct {
	mu      sync.Mutex
	waiting int64         // guarded by mu, as are all below
	since   time.Time     // of the last change
	total   time.Duration // until then
}

// begin notes that one more reader waits.
func (w *waitMeter) begin(now time.Time) { w.change(1, now) }

// end notes that one reader waits no more.
func (w *waitMeter) end(now time.Time) { w.change(-1, now) }

func (w *waitMeter) change(by int64, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total += time.Duration(w.waiting) * now.Sub(w.since)
	w.waiting += by
	w.since = now
}

// read is how many readers wait, and for how long readers have waited so far: two
// that wait for a second are two seconds.
func (w *waitMeter) read(now time.Time) Waits {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Waits{Readers: w.waiting, Total: w.total + time.Duration(w.waiting)*now.Sub(w.since)}
}
