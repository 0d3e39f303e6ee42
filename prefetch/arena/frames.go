package arena

import "math/bits"

// need is the memory that blocks which do not exist take: frames, and of an
// object's last block a place in a split one.
type need struct {
	frames int
	class  int // of the last block; large if there is none
}

func (n need) units() int64 {
	units := int64(n.frames) * classUnits[large]
	if n.class != large {
		units += classUnits[n.class]
	}
	return units
}

// add counts a block of a class.
func (n *need) add(class int) {
	if class == large {
		n.frames++
	} else {
		n.class = class
	}
}

// possible says whether a need can be met by evicting idle blocks, but for the
// frames of some that the asker holds on to. A place in a split frame may be had
// at the cost of a frame.
func (a *Arena) possible(n need, except int) bool {
	frames := a.free + a.idleFrames - except
	if n.class == large {
		return n.frames <= frames
	}
	if n.frames == 0 && (a.openPlace(n.class) || a.idle[n.class] > 0) {
		return true
	}
	return n.frames+1 <= frames
}

func (a *Arena) openPlace(class int) bool { return a.partial(class).front != 0 }

func (a *Arena) partial(class int) *list { return &a.lists[partialList(class)] }

func partialList(class int) listName { return partial + listName(class-medium) }

// met says whether a need can be met at once.
func (a *Arena) met(n need) bool {
	if n.class != large && !a.openPlace(n.class) {
		return n.frames+1 <= a.free
	}
	return n.frames <= a.free
}

// evictFor takes the memory of a block back for a need: the block alone where
// that leaves a place which serves, otherwise its whole frame.
func (a *Arena) evictFor(n need, i id) {
	class, frame, _ := a.place(i)
	if class == large || class == n.class && n.frames == 0 {
		a.evict(i)
		return
	}
	for used := uint64(a.records[frame].have); used != 0; used &= used - 1 {
		if i := a.at(class, frame, id(bits.TrailingZeros64(used))); a.records[i].idle() {
			a.evict(i)
		}
	}
}

// takeFrame takes a frame: the one that follows near if it is free and resident,
// so that blocks which follow each other lie side by side; else the one that was
// given back last, since touching fresh memory costs as much as copying into it.
func (a *Arena) takeFrame(near id) id {
	i := a.lists[freeFrames].front
	if near != 0 && near < a.fresh && a.records[near+1].list == freeFrames {
		i = near + 1
	}
	a.free--
	switch {
	case i != 0:
	case a.fresh < a.frames:
		a.fresh++
		return a.fresh
	default:
		if i = a.lists[coldFrames].front; i == 0 {
			panic("arena: take from an empty arena")
		}
		a.cold--
	}
	a.unlink(i)
	return i
}

// freeFrame gives a frame back.
func (a *Arena) freeFrame(frame id) {
	a.records[frame] = record{}
	poison(a.bytes(frame))
	a.pushFront(freeFrames, frame)
	a.free++
}

// takePlace takes a place in a split frame.
func (a *Arena) takePlace(class int) id {
	frame := a.partial(class).front
	if frame == 0 {
		frame = a.takeFrame(0)
		a.records[frame] = record{class: uint8(class)}
		a.pushFront(partialList(class), frame)
	}
	f := &a.records[frame]
	if f.have != 0 && f.leases == 0 {
		a.idleFrames--
	}
	part := id(bits.TrailingZeros64(^uint64(f.have)))
	f.have |= 1 << part
	f.leases++
	if f.have.count() == usable[class] {
		a.unlink(frame)
	}
	return a.at(class, frame, part)
}

// freePlace gives an idle block's place back.
func (a *Arena) freePlace(class int, frame, part id) {
	f := &a.records[frame]
	poison(a.bytes(a.at(class, frame, part)))
	if f.have.count() == usable[class] {
		a.pushFront(partialList(class), frame)
	}
	f.have &^= 1 << part
	if f.have == 0 {
		a.idleFrames--
		a.unlink(frame)
		a.freeFrame(frame)
	}
}

// pin counts an idle block as held.
func (a *Arena) pin(i id) {
	class, frame, _ := a.place(i)
	if class != large {
		a.idle[class]--
		f := &a.records[frame]
		if f.leases++; f.leases > 1 {
			return
		}
	}
	a.idleFrames--
}

// unpin counts a held block as idle.
func (a *Arena) unpin(i id) {
	class, frame, _ := a.place(i)
	if class != large {
		a.idle[class]++
		f := &a.records[frame]
		if f.leases--; f.leases > 0 {
			return
		}
	}
	a.idleFrames++
}
