package prefetch

import (
	"slices"
	"time"
)

// failureMemory is how long a failed wait is remembered for those who have the
// file open. The kernel asks again, page by page, for what its readahead did not
// get, and a page fault up to three times: each would wait for the whole time-out
// anew, and a fault that a signal interrupts meanwhile, as the Go runtime's do
// every 10 ms, begins again without end. Those questions follow within a
// millisecond or so, and one after the other where many wait for the same page: on
// a busy machine one has come 324 ms later. A program that tries again by itself
// for longer, or opens the file anew, has a new wait.
const failureMemory = time.Second

// maxFailures bounds the memory of a file, whose readers fail together: the
// kernel asks for up to 1,024 ranges at once ahead of them, and for one more of
// each thread that reads.
const maxFailures = 2048

// failure is a failed wait for [lo, hi).
type failure struct {
	lo, hi int64
	err    error
	late   time.Time // readers opened then or later do not get it
	until  time.Time
}

// failures are the recent ones of a file. Guarded by its lock.
type failures []failure

// add remembers that the wait for [lo, hi), from began to now, ended with err. It
// concerns the readers that were there for the first half of it: their own pages
// may have hung on the same requests. Who came later has a wait of its own.
func (s *failures) add(lo, hi int64, err error, began, now time.Time) {
	*s = slices.DeleteFunc(*s, func(old failure) bool { return !now.Before(old.until) })
	if len(*s) == maxFailures {
		*s = slices.Delete(*s, 0, 1)
	}
	*s = append(*s, failure{lo, hi, err, halfway(began, now), now.Add(failureMemory)})
}

// halfway is the middle of a wait, or of a fetch that failed: who came after it has
// hardly waited, and does not fail with the others.
func halfway(began, now time.Time) time.Time { return began.Add(now.Sub(began) / 2) }

// find returns the latest error of a wait that touched [lo, hi), for a reader
// that was opened at the given time; or nil. They are in the order of their
// times, and looking for what most reads do not have is cheap: the forgotten are
// not looked at.
func (s failures) find(lo, hi int64, opened, now time.Time) error {
	for _, old := range slices.Backward(s) {
		if !now.Before(old.until) {
			return nil
		}
		if lo < old.hi && hi > old.lo && opened.Before(old.late) {
			return old.err
		}
	}
	return nil
}
