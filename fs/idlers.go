package fs

import "sync/atomic"

// idlers counts the workers that wait for a request, which are to be at least
// one and at most max. Safe for concurrent use.
type idlers struct {
	max int32
	n   atomic.Int32
}

// join tells whether one more is to wait. It counts none that is not: whoever
// takes a request meanwhile would take it for one who waits for the next, and
// nobody would, until one of those that wait for the store comes back.
func (i *idlers) join() bool {
	for {
		n := i.n.Load()
		if n >= i.max {
			return false
		}
		if i.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave notes that one waits no more, and tells whether nobody else does.
func (i *idlers) leave() (last bool) { return i.n.Add(-1) == 0 }

// any tells whether one waits.
func (i *idlers) any() bool { return i.n.Load() > 0 }
