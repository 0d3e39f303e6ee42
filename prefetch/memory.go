package prefetch

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

const (
	// idleTime is how long nothing must have been read or fetched for memory to go
	// back to the node, if that is short of it.
	idleTime = time.Minute
	// idleShare is the part of the limit that stays resident then.
	idleShare = 10
	// memoryTick is how often this is looked at.
	memoryTick = 5 * time.Second
	// shortOfMemory is the share of the last ten seconds, in percent, in which some
	// task waited for memory, from which on the node is short of it.
	shortOfMemory = 1.0
)

// keepMemory gives memory back to the node while nothing is read and the node is
// short of it. It is the body of a goroutine that the cache's Close joins.
func (c *Cache) keepMemory(pressed func() bool) {
	defer c.goroutines.Done()
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	last, since := c.activity(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		if activity := c.activity(); activity != last {
			last, since = activity, time.Now()
		}
		if time.Since(since) >= idleTime && pressed() {
			c.arena.GiveBack(c.arena.Blocks() / idleShare)
			c.forgetEmptied()
		}
	}
}

// activity grows with everything that is read or fetched.
func (c *Cache) activity() int64 {
	return c.counts.hits.Load() + c.counts.misses.Load() + c.counts.fetched.Load()
}

// nodeIsShort says whether the node is short of memory, by what its kernel tells
// of the last ten seconds; a kernel that tells nothing is not.
func nodeIsShort() bool {
	text, err := os.ReadFile("/proc/pressure/memory")
	return err == nil && pressure(text) >= shortOfMemory
}

// pressure is the percentage avg10 of the line "some avg10=1.53 avg60=...".
func pressure(text []byte) float64 {
	_, rest, _ := bytes.Cut(text, []byte("some avg10="))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	percent, _ := strconv.ParseFloat(string(number), 64)
	return percent
}
