package rig

import (
	"sync"
	"time"
)

// Line is what the connections to a store share: each has a rate, and so have
// all together. It goes by time.Now and waits for nothing, so that in a bubble of
// testing/synctest its time is virtual. Unlike tests/proxy, it makes up for no
// late timer, of which there are none in a bubble. Safe for concurrent
// use.
type Line struct {
	PerConnection, Total float64 // bytes per second; set before the first use

	mu   sync.Mutex
	free time.Time // when all bytes so far are through; guarded by mu
}

// Take reserves the line for n bytes of one connection, after those that were
// taken before, and returns how long until they are through.
func (l *Line) Take(n int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(seconds(n, l.Total))
	return max(seconds(n, l.PerConnection), l.free.Sub(now))
}

// seconds is how long n bytes take at a rate.
func seconds(n int64, rate float64) time.Duration {
	return time.Duration(float64(n) / rate * float64(time.Second))
}
