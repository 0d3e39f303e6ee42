package state

import (
	"sync/atomic"
	"unsafe"
)

// minRequest is the length of the kernel's shortest request, its header.
const minRequest = 40

// Slot is where one request is read to, and lies until it is answered. A request
// begins with its length, which the kernel writes: a slot whose first word is not
// 0 has one. The zero value is none.
type Slot struct {
	Buffer []byte
	kept   *uint32 // the first word; nil where the slot is this process's alone
	index  int
}

// Take returns a slot of the caller's own. When all are taken it is one that is
// lost in a crash.
func (f *File) Take() Slot {
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.idle); n > 0 {
			index := f.idle[n-1]
			f.idle = f.idle[:n-1]
			f.head.slots = max(f.head.slots, uint64(index)+1)
			s := f.slot(index)
			s.Clear()
			return s
		}
	}
	return Slot{Buffer: make([]byte, slotSize)}
}

// slot is the slot of that number.
func (f *File) slot(index int) Slot {
	buffer := f.memory[slotsAt+index*slotSize:][:slotSize:slotSize]
	return Slot{Buffer: buffer, kept: (*uint32)(unsafe.Pointer(&buffer[0])), index: index}
}

// Free gives back a slot that Take or Pending returned. It is empty.
func (f *File) Free(s Slot) {
	if s.kept == nil {
		return
	}
	s.Clear()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, s.index)
}

// Clear notes that the slot's request was answered. It also has the slot's pages
// in the process's table of pages: if they are not, while the process is killed,
// the kernel fails the request that it was to put there.
func (s Slot) Clear() {
	if s.kept == nil {
		return
	}
	atomic.StoreUint32(s.kept, 0)
	s.Buffer[slotSize/2] = 0
}

// Request is the request in the slot, nil if there is none.
func (s Slot) Request() []byte {
	if s.kept == nil {
		return nil
	}
	n := atomic.LoadUint32(s.kept)
	if n < minRequest || n > slotSize {
		return nil
	}
	return s.Buffer[:n]
}

// findSlots sorts the slots into those with a request and those without. It looks
// at none that was never used, which would take memory from then on.
func (f *File) findSlots() {
	for index := slots - 1; index >= 0; index-- {
		if index < int(f.head.slots) {
			if s := f.slot(index); s.Request() != nil {
				f.pending = append(f.pending, s)
				continue
			}
		}
		f.idle = append(f.idle, index)
	}
}

// Pending returns, once, the slots in which a predecessor left a request: each is
// to be freed when that is answered.
func (f *File) Pending() []Slot {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pending := f.pending
	f.pending = nil
	return pending
}
