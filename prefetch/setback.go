package prefetch

import (
	"slices"
	"time"
)

// setbackMemory is how long a failed wait is remembered for those who have the
// file open. The kernel asks again, page by page, for what its readahead did not
// get, and a page fault up to three times: each would wait for the whole time-out
// anew, and a fault that a signal interrupts meanwhile, as the Go runtime's do
// every 10 ms, begins again without end. Those questions follow within a
// millisecond or so; a program that tries again by itself takes longer, or
// opens the file anew, for which nothing is remembered.
const setbackMemory = 250 * time.Millisecond

// maxSetbacks bounds the memory of a file, whose readers fail together.
const maxSetbacks = 64

// setback is a failed wait for [lo, hi).
type setback struct {
	lo, hi int64
	err    error
	turn   uint64 // readers opened later do not get it
	until  time.Time
}

// setbacks are the recent ones of a file. Guarded by the cache's lock.
type setbacks []setback

// add remembers that the wait for [lo, hi) ended with err.
func (s *setbacks) add(lo, hi int64, err error, turn uint64, now time.Time) {
	*s = slices.DeleteFunc(*s, func(old setback) bool { return !now.Before(old.until) })
	if len(*s) == maxSetbacks {
		*s = slices.Delete(*s, 0, 1)
	}
	*s = append(*s, setback{lo, hi, err, turn, now.Add(setbackMemory)})
}

// find returns the latest error of a wait that touched [lo, hi), for a reader
// that was opened in the given turn; or nil.
func (s setbacks) find(lo, hi int64, opened uint64, now time.Time) error {
	for _, old := range slices.Backward(s) {
		if lo < old.hi && hi > old.lo && opened < old.turn && now.Before(old.until) {
			return old.err
		}
	}
	return nil
}
