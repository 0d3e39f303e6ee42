package prefetch

import "fmt"

// arena is the memory of the cache: blocks of blockSize bytes in one mapping
// outside the Go heap, handed out last-in first-out, since touching fresh
// memory costs as much as copying into it. Not safe for concurrent use: the
// cache's lock guards it.
type arena struct {
	memory []byte
	free   []int32 // stack of slots that nobody uses
	fresh  int32   // slots from here on were never handed out
	slots  int32

	touched int32 // slots below are resident, or soon will be
}

// newArena reserves size bytes, rounded down to whole blocks. Pages become
// resident when they are first written.
func newArena(size int64) (*arena, error) {
	slots := size / blockSize
	memory, err := reserveMemory(slots * blockSize)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of cache memory: %w", slots*blockSize, err)
	}
	return &arena{memory: memory, slots: int32(slots)}, nil
}

// available is how many slots take can hand out.
func (a *arena) available() int { return len(a.free) + int(a.slots-a.fresh) }

// take hands out the slot that was given back last, or a fresh one. The
// caller has checked available.
func (a *arena) take() int32 {
	if n := len(a.free); n > 0 {
		slot := a.free[n-1]
		a.free = a.free[:n-1]
		return slot
	}
	if a.fresh == a.slots {
		panic("prefetch: take from an empty arena")
	}
	a.fresh++
	return a.fresh - 1
}

func (a *arena) give(slot int32) {
	poison(a.bytes(slot))
	a.free = append(a.free, slot)
}

// bytes is the memory of one slot.
func (a *arena) bytes(slot int32) []byte {
	lo := int(slot) * blockSize
	return a.memory[lo : lo+blockSize : lo+blockSize]
}

func (a *arena) close() error {
	memory := a.memory
	a.memory = nil
	return releaseMemory(memory)
}
