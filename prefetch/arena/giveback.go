package arena

// releaseStep is how many frames are given back at a time, between which readers
// have their turn.
const releaseStep = 16

// GiveBack returns idle memory to the node, free frames first and then what was
// read longest ago, until at most so many blocks are resident or none is idle.
func (a *Arena) GiveBack(blocks int64) {
	for {
		frames := a.takeIdle(blocks)
		if len(frames) == 0 {
			return
		}
		for _, frame := range frames {
			discard(a.bytes(frame))
		}
		a.putCold(frames)
	}
}

// takeIdle takes resident frames out of use.
func (a *Arena) takeIdle(keep int64) (frames []id) {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := need{frames: 1}
	for !a.closed && len(frames) < releaseStep && int64(a.resident()) > keep {
		frame := a.lists[freeFrames].front // the resident ones are in front
		if frame == 0 || a.records[frame].cold {
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

// putCold puts frames that are no longer resident among the free ones.
func (a *Arena) putCold(frames []id) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, frame := range frames {
		if !a.closed {
			a.pushBack(freeFrames, frame)
			a.records[frame].cold = true
			a.free++
		}
	}
	a.grant()
}

// resident is how many frames are, or soon will be.
func (a *Arena) resident() int { return int(a.fresh) - a.cold }
