package proxy

import (
	"sync"
	"time"
)

// catchUp is how far behind its schedule a pacer may get and still make up for
// it: more than a timer is late on a busy machine, less than would show as a
// burst.
const catchUp = 10 * time.Millisecond

// pacer spreads bytes over time by a schedule of its own, so that late timers
// do not add up. A rate of 0 is unlimited. The zero value is unlimited.
type pacer struct {
	mu   sync.Mutex
	rate int64     // bytes per second
	next time.Time // when the last byte scheduled so far will have passed; guarded by mu
}

// setRate changes the rate for the bytes that are scheduled from now on.
func (p *pacer) setRate(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// begin forgets the past: what was not used before now cannot be made up for.
func (p *pacer) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = now
}

// schedule returns when the last of n more bytes may have passed.
func (p *pacer) schedule(now time.Time, n int64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate <= 0 {
		return now
	}
	if floor := now.Add(-catchUp); p.next.Before(floor) {
		p.next = floor
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return p.next
}
