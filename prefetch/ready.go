package prefetch

import (
	"time"

	"weightfs/remote"
)

// The first use of a page costs as much as a copy: the kernel clears it, and a
// virtual machine's host may have to find it first. So fresh memory is touched
// ahead of its use, while nothing is fetched: a load finds it ready, and never
// shares its processors with this.
const (
	// readyBytes is how much fresh memory is touched before it is used, at most:
	// what a fast network brings in the first half second. It is resident from
	// the start on, so it is no more than a part of the limit. On two cores, with
	// the server beside, eight readers by O_DIRECT got 1 GiB in 0.44 s so, and in
	// 0.48 to 1.4 s without.
	readyBytes = 1 << 30
	// readyShare is the part of the arena that this is at most.
	readyShare = 4
	// readyStep is how much is touched at a time, in blocks: a few milliseconds'
	// worth, after which Close is noticed.
	readyStep = 16
	// calmTime is how long nothing must have been fetched: between two reads of a
	// load there is no time to lose.
	calmTime = time.Second
)

// readySlots is how many fresh slots are to be touched ahead.
func (a *arena) readySlots() int32 { return min(readyBytes/blockSize, a.slots/readyShare) }

// untouched is the next range of slots that is to be touched, none if enough
// are. The caller touches them, without the cache's lock, even while they are
// used.
func (a *arena) untouched() (lo, hi int32) {
	lo = max(a.touched, a.fresh)
	hi = max(lo, min(lo+readyStep, a.fresh+a.readySlots(), a.slots))
	a.touched = hi
	return lo, hi
}

// keepReady touches fresh memory at the start, and again whenever nothing has
// been fetched for a while. It is the body of a goroutine that the cache's Close
// joins.
func (c *Cache) keepReady() {
	defer c.goroutines.Done()
	// Files of this host are read by the kernel itself, past the cache, where it
	// can: not before the first fetch is the memory needed at all.
	if _, local := c.store.(remote.FileOpener); local {
		c.awaitCalm()
	}
	for c.ctx.Err() == nil {
		for lo, hi := c.untouched(); lo < hi; lo, hi = c.untouched() {
			touch(c.arena.memory[int(lo)*blockSize : int(hi)*blockSize])
		}
		c.awaitCalm()
	}
}

// awaitCalm returns when something was fetched and then nothing for calmTime, or
// at Close.
func (c *Cache) awaitCalm() {
	select {
	case <-c.calm:
	case <-c.ctx.Done():
		return
	}
	tick := time.NewTicker(calmTime)
	defer tick.Stop()
	for before, now := uint64(0), c.fetchedSoFar(); before != now; before, now = now, c.fetchedSoFar() {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cache) fetchedSoFar() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock
}

// untouched is what keepReady shall touch now.
func (c *Cache) untouched() (lo, hi int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active > 0 || c.closed {
		return 0, 0
	}
	return c.arena.untouched()
}

// becameCalm tells keepReady that nothing is fetched any more.
func (c *Cache) becameCalm() {
	select {
	case c.calm <- struct{}{}:
	default:
	}
}
