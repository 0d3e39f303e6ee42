package arena

import "unsafe"

// id names the place of a block, and its record: 0 is none, then come the
// frames, then the eighths of all frames, then their sixty-fourths.
type id uint32

// record is what is known of one block. The record of a frame that is free or
// split describes the frame. No pointers, 56 bytes.
type record struct {
	have    chunks // landed, readable; of a split frame the places in use
	claimed chunks // being fetched
	read    chunks // served to a reader at least once

	object     Number
	index      uint32 // of the block in its object
	prev, next id     // in the list
	chain      id     // the next block of the same hash
	landed     uint32 // the clock, in MiB, when it came to rest unread

	leases  uint32 // Leases that hold it; of a split frame its blocks that are held
	writers uint8  // Claims of it, each of a chunk at least
	list    listName
	class   uint8 // of a frame: what it is split into
	again   bool  // it was read again
}

const recordSize = int64(unsafe.Sizeof(record{}))

// idle says that nobody holds the block.
func (r *record) idle() bool { return r.leases == 0 && r.writers == 0 }

// consumed says that everything that was fetched has been served.
func (r *record) consumed() bool { return r.read.has(r.have) }

// The classes of blocks.
const (
	large  = iota // a frame
	medium        // 128 KiB
	small         // 16 KiB
	classes
)

// class sizes and how many lie in a frame. One place of a frame of small blocks
// is not used: it pays for their records.
var (
	classSize  = [classes]int64{BlockSize, BlockSize / 8, BlockSize / 64}
	perFrame   = [classes]id{1, 8, 64}
	usable     = [classes]int{1, 8, 63}
	classUnits = [classes]int64{64, 8, 1} // of 16 KiB
)

// classOf is the smallest class that holds a block of so many bytes.
func classOf(length int64) int {
	switch {
	case length <= classSize[small]:
		return small
	case length <= classSize[medium]:
		return medium
	default:
		return large
	}
}

// listName names a list of blocks or frames.
type listName uint8

const (
	noList     listName = iota
	freeFrames          // resident
	coldFrames          // not resident
	partial             // frames with places free: of the medium class, then of the small one
	_
	once   // idle and read: what eviction takes first, from the back
	again  // idle and read again
	unread // idle and not yet read, the last to land in front
	lists
)

// list is doubly linked through the records: front is the newest.
type list struct {
	front, back id
	units       int64 // of 16 KiB; only of blocks
}

func (a *Arena) pushFront(name listName, i id) {
	l, r := &a.lists[name], &a.records[i]
	r.list, r.prev, r.next = name, 0, l.front
	if l.front != 0 {
		a.records[l.front].prev = i
	} else {
		l.back = i
	}
	l.front = i
	l.units += a.units(i)
}

func (a *Arena) pushBack(name listName, i id) {
	l, r := &a.lists[name], &a.records[i]
	r.list, r.prev, r.next = name, l.back, 0
	if l.back != 0 {
		a.records[l.back].next = i
	} else {
		l.front = i
	}
	l.back = i
	l.units += a.units(i)
}

// unlink takes i out of the list that it is in.
func (a *Arena) unlink(i id) {
	r := &a.records[i]
	l := &a.lists[r.list]
	if r.prev != 0 {
		a.records[r.prev].next = r.next
	} else {
		l.front = r.next
	}
	if r.next != 0 {
		a.records[r.next].prev = r.prev
	} else {
		l.back = r.prev
	}
	r.list, r.prev, r.next = noList, 0, 0
	l.units -= a.units(i)
}

// place is where a block lies: its class, the frame, and which part of it.
func (a *Arena) place(i id) (class int, frame, part id) {
	switch i--; {
	case i < a.frames:
		return large, i + 1, 0
	case i < 9*a.frames:
		i -= a.frames
		return medium, i/8 + 1, i % 8
	default:
		i -= 9 * a.frames
		return small, i/64 + 1, i % 64
	}
}

// at is the block at a place.
func (a *Arena) at(class int, frame, part id) id {
	return [classes]id{0, a.frames, 9 * a.frames}[class] + (frame-1)*perFrame[class] + part + 1
}

func (a *Arena) units(i id) int64 {
	class, _, _ := a.place(i)
	return classUnits[class]
}

// offset is where a block begins in the arena's memory.
func (a *Arena) offset(i id) int64 {
	class, frame, part := a.place(i)
	return int64(frame-1)*BlockSize + int64(part)*classSize[class]
}

// bytes is the memory of a block.
func (a *Arena) bytes(i id) []byte {
	class, _, _ := a.place(i)
	lo := a.offset(i)
	hi := lo + classSize[class]
	return a.memory[lo:hi:hi]
}
