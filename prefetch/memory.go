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
	// memoryTick is how often this is looked at, and how long nothing must have been
	// read for fresh memory to be made ready: between two reads of a load there is no
	// time to lose.
	memoryTick = time.Second
	// shortOfMemory is the share of the last ten seconds, in percent, in which some
	// task waited for memory, from which on the node is short of it.
	shortOfMemory = 1.0
)

// keepMemory has fresh memory ready once the mount is read, and gives idle memory
// back while the node is short of it. It is the body of a goroutine that the
// cache's Close joins.
func (c *Cache) keepMemory(pressed func() bool) {
	defer c.goroutines.Done()
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	var last int64 // activity
	var since time.Time
	ready := true // as much as is of use until there is more activity
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		switch activity := c.activity(); {
		case activity != last:
			last, since, ready = activity, time.Now(), false
		case !ready:
			for !ready && c.activity() == last && c.ctx.Err() == nil {
				ready = !c.arena.Touch()
			}
		case last > 0 && time.Since(since) >= idleTime && pressed():
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
