package stream

import "sync/atomic"

// A census counts by epochs, so that a stream which nobody reads drops out
// without being looked at.
const (
	epochBytes = 8 << 20
	liveEpochs = ActiveBytes / epochBytes
	countBits  = 24
)

// Census counts the streams of all objects that were read while the last
// ActiveBytes were fetched. Safe for concurrent use, without a lock. The zero
// value is ready.
type Census struct {
	// epochs are numbered from 1; each is at its remainder, with its number above
	// its count.
	epochs [2 * liveEpochs]atomic.Uint64
}

func epochOf(clock uint64) uint64 { return clock/epochBytes + 1 }

// seen counts a stream that was last counted in the epoch before, 0 for none, and
// returns the epoch that it is counted in now.
func (c *Census) seen(before, clock uint64) uint64 {
	now := epochOf(clock)
	if before != now {
		c.add(before, -1)
		c.add(now, 1)
	}
	return now
}

// gone takes a stream out of the count.
func (c *Census) gone(before uint64) uint64 {
	c.add(before, -1)
	return 0
}

func (c *Census) add(epoch uint64, n int) {
	if epoch == 0 {
		return
	}
	place := &c.epochs[epoch%uint64(len(c.epochs))]
	for {
		old := place.Load()
		count := int(old & (1<<countBits - 1))
		if old>>countBits != epoch {
			if n < 0 {
				return // the epoch is over
			}
			count = 0
		}
		if place.CompareAndSwap(old, epoch<<countBits|uint64(count+n)) {
			return
		}
	}
}

// Live is how many streams there are at the time clock; at least 1.
func (c *Census) Live(clock uint64) int64 {
	n, now := int64(0), epochOf(clock)
	for epoch := now; epoch > 0 && epoch+liveEpochs > now; epoch-- {
		if v := c.epochs[epoch%uint64(len(c.epochs))].Load(); v>>countBits == epoch {
			n += int64(v & (1<<countBits - 1))
		}
	}
	return max(n, 1)
}
