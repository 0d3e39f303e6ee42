package arena

const (
	// step is how many frames are touched or given back at a time, between which
	// readers have their turn: a few milliseconds' worth.
	step = 16
	// The first use of a page costs as much as a copy: the kernel clears it, and a
	// virtual machine's host may have to find it first. A cold GiB took 0.1 s of a
	// processor into memory that had been touched, and 0.3 to 0.9 s into fresh one.
	// Once it is read, readyShare of the arena is kept ready, readyBytes at most:
	// what a fast network brings in the first half second.
	readyShare = 4
	readyBytes = 1 << 30
)

// Touch makes some fresh memory resident before it is needed, and says whether
// there is more to touch.
func (a *Arena) Touch() bool {
	lo, hi := a.untouched()
	if lo < hi {
		a.mapped.populate(a.memory[int64(lo)*BlockSize : int64(hi)*BlockSize]) // others may use it meanwhile
	}
	return lo < hi
}

// untouched are the frames to be touched next, after lo up to hi.
func (a *Arena) untouched() (lo, hi id) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, 0
	}
	lo = max(a.touched, a.fresh)
	hi = max(lo, min(lo+step, a.fresh+min(readyBytes/BlockSize, a.frames/readyShare), a.frames))
	a.touched = hi
	return lo, hi
}

// GiveBack returns idle memory to the node, free frames first and then what was
// read longest ago, until at most so many blocks are resident or none is idle, or
// somebody keeps it.
func (a *Arena) GiveBack(blocks int64) {
	a.giving.Lock()
	defer a.giving.Unlock()
	if a.keepers.Load() > 0 {
		return
	}
	a.discardTouched()
	for a.keepers.Load() == 0 {
		frames := a.takeIdle(blocks)
		if len(frames) == 0 {
			return
		}
		for _, frame := range frames {
			a.mapped.discard(a.bytes(frame))
		}
		a.putCold(frames)
	}
}

// Keep has GiveBack return nothing until as many Unkeep, and waits until it has
// returned. A device has the memory page-locked by then: those pages would stay, and
// it would go on reading them when others have taken their place.
func (a *Arena) Keep() {
	a.keepers.Add(1)
	a.giving.Lock() // a step of milliseconds
	defer a.giving.Unlock()
}

// Unkeep ends a Keep.
func (a *Arena) Unkeep() { a.keepers.Add(-1) }

// discardTouched gives back what was touched and never used.
func (a *Arena) discardTouched() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && a.touched > a.fresh {
		a.mapped.discard(a.memory[int64(a.fresh)*BlockSize : int64(a.touched)*BlockSize])
		a.touched = a.fresh
	}
}

// takeIdle takes resident frames out of use.
func (a *Arena) takeIdle(keep int64) (frames []id) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := need{frames: 1}
	for !a.closed && len(frames) < step && int64(a.resident()) > keep {
		frame := a.lists[freeFrames].front
		if frame == 0 {
			i := a.victim()
			if i == 0 {
				return frames
			}
			a.evictFor(want, i)
			continue
		}
		a.unlink(frame)
		a.free--
		a.cold++
		frames = append(frames, frame)
	}
	return frames
}

// putCold makes frames that are no longer resident free.
func (a *Arena) putCold(frames []id) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, frame := range frames {
		if !a.closed {
			a.pushFront(coldFrames, frame)
			a.free++
		}
	}
	a.grant()
}

// resident is how many frames are, or soon will be.
func (a *Arena) resident() int { return int(max(a.fresh, a.touched)) - a.cold }
