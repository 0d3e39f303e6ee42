package model

// ordered is what a queue holds.
type ordered[T any] interface{ before(other T) bool }

// queue gives the first of what it holds. The zero value is empty. It is container/heap
// without its interface, through which most of a simulation's time went.
type queue[T ordered[T]] []T

// push adds one.
func (q *queue[T]) push(e T) {
	h := append(*q, e)
	at := len(h) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if !e.before(h[parent]) {
			break
		}
		h[at] = h[parent]
		at = parent
	}
	h[at] = e
	*q = h
}

// pop takes the first out of a queue that is not empty.
func (q *queue[T]) pop() T {
	h := *q
	first, end := h[0], len(h)-1
	e := h[end]
	h = h[:end]
	*q = h
	for at := 0; end > 0; {
		child := 2*at + 1
		if child+1 < end && h[child+1].before(h[child]) {
			child++
		}
		if child >= end || !h[child].before(e) {
			h[at] = e
			break
		}
		h[at] = h[child]
		at = child
	}
	return first
}
