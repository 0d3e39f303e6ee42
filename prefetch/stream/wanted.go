package stream

import "slices"

// wanted is a range that a reader has said it will read: nothing is guessed of it.
type wanted struct {
	lo, hi int64
	ahead  int64 // everything in [lo, ahead) was seen fetched or in flight
}

// Want notes that [lo, hi) will be read, after what is wanted already.
func (ss *Streams) Want(lo, hi int64) {
	ss.wanted = append(ss.wanted, wanted{lo, hi, lo})
	ss.wantedBytes += hi - lo
}

// Unwant takes back one Want of that range.
func (ss *Streams) Unwant(lo, hi int64) {
	i := slices.IndexFunc(ss.wanted, func(w wanted) bool { return w.lo == lo && w.hi == hi })
	if i >= 0 {
		ss.wanted = slices.Delete(ss.wanted, i, i+1)
		ss.wantedBytes -= hi - lo
	}
}

// WantedShare says how far ahead of what is read next what is wanted may be fetched,
// by a reader that is alive at the time clock: all that is wanted counts as one
// stream.
func (ss *Streams) WantedShare(share int64, clock uint64) {
	ss.wantedShare, ss.wantedUsed = share, clock
	if len(ss.wanted) > 0 {
		ss.wantedEpoch = ss.census.seen(ss.wantedEpoch, clock)
	} else {
		ss.wantedEpoch = ss.census.gone(ss.wantedEpoch)
	}
}

// nextWanted is the next fetch of what is wanted, in the order that it was said.
// Ranges that lie behind one another are fetched together.
func (ss *Streams) nextWanted(partFor func(*Stream) int64, fetched Fetched) (Part, bool) {
	before := int64(0)
	for i := range ss.wanted {
		w := &ss.wanted[i]
		if w.ahead >= w.hi {
			before += w.hi - w.lo
			continue
		}
		if before > 0 && before >= ss.wantedShare {
			break
		}
		lo, _, ok := fetched.Gap(w.ahead, w.hi)
		if !ok {
			w.ahead = w.hi
			before += w.hi - w.lo
			continue
		}
		w.ahead = max(lo, w.lo)
		part, stop := partFor(&Stream{Window: ss.wantedBytes}), ss.runEnd(i)
		_, hi, _ := fetched.Gap(lo, min(stop, roundUp(lo+1, part)))
		if from, to, ok := ss.fleet.pick(lo, min(stop, w.lo+max(ss.wantedShare-before, 0)), part, fetched); ok {
			lo, hi = from, to
		}
		return Part{nil, lo, hi, before + w.ahead - w.lo}, true
	}
	return Part{}, false
}

// WantedEnd is where a fetch for the missing bytes [off, end) that are wanted should
// end: where the fetches of what is wanted tile, as far as all in between is wanted.
func (ss *Streams) WantedEnd(off, end int64, partFor func(*Stream) int64) int64 {
	for i, w := range ss.wanted {
		if w.lo <= off && off < w.hi {
			tile := roundUp(off+1, partFor(&Stream{Window: ss.wantedBytes}))
			return max(end, min(ss.runEnd(i), tile))
		}
	}
	return end
}

// runEnd is where the ranges end of which each begins where the one before ends,
// from the one with index i on.
func (ss *Streams) runEnd(i int) int64 {
	end := ss.wanted[i].hi
	for _, w := range ss.wanted[i+1:] {
		if w.lo != end {
			break
		}
		end = w.hi
	}
	return end
}

// wantedDistance is how many bytes are to be read before what is wanted and not
// yet fetched; ok is false where nothing of it may be fetched now.
func (ss *Streams) wantedDistance() (before int64, ok bool) {
	for _, w := range ss.wanted {
		if w.ahead < w.hi && (before == 0 || before < ss.wantedShare) {
			return before + w.ahead - w.lo, true
		}
		before += w.hi - w.lo
	}
	return 0, false
}

// wantedNeeds appends what is wanted to needs.
func (ss *Streams) wantedNeeds(needs Needs) Needs {
	for i := 0; i < len(ss.wanted); {
		lo, hi := ss.wanted[i].lo, ss.runEnd(i)
		needs = append(needs, need{start: lo, pos: lo, used: ss.wantedUsed, end: hi})
		for i++; i < len(ss.wanted) && ss.wanted[i].hi <= hi && ss.wanted[i].lo >= lo; i++ {
		}
	}
	return needs
}
