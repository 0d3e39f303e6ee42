package stream

// Part is a fetch that a stream wants; Stream is nil for what a reader announced.
type Part struct {
	Stream *Stream
	Lo, Hi int64
	// Distance is how many bytes its reader has before it.
	Distance int64
}

// Next is the part that is needed soonest among what is wanted and what the windows
// have room for; ok is false if there is none. size is the object's, partFor gives the size
// of a stream's GETs.
func (ss *Streams) Next(size int64, clock uint64, partFor func(*Stream) int64, fetched Fetched) (best Part, ok bool) {
	best, ok = ss.nextWanted(partFor, fetched)
	for _, s := range ss.list {
		if !s.Ready {
			continue
		}
		part, has := ss.nextBelow(s, partFor, fetched)
		if !has {
			part, has = ss.nextAhead(s, size, clock, partFor(s), fetched)
		}
		s.Ready = has
		if has && (!ok || part.Distance < best.Distance) {
			best, ok = part, true
		}
	}
	return best, ok
}

// Distance is how soon the next part is needed of the streams that are ready.
func (ss *Streams) Distance() int64 {
	distance, ok := ss.wantedDistance()
	if !ok {
		distance = 1<<63 - 1
	}
	for _, s := range ss.list {
		switch {
		case !s.Ready:
		case s.descends() && s.below > ss.bottom(s):
			distance = min(distance, s.start-s.below)
		default:
			distance = min(distance, max(s.ahead-s.Pos, 0))
		}
	}
	return distance
}

// nextAhead is the next fetch in a stream's window: a whole part, or less
// where the part's rest is there, the window ends for good, or the reader has
// nothing else before it.
func (ss *Streams) nextAhead(s *Stream, size int64, clock uint64, part int64, fetched Fetched) (Part, bool) {
	limit, stop := ss.limits(s, size, clock)
	lo, hi, ok := fetched.Gap(max(s.Pos, s.ahead), limit)
	if !ok {
		s.ahead = max(s.ahead, limit)
		return Part{}, false
	}
	s.ahead = lo
	boundary := min(roundUp(lo+1, part), stop)
	if hi < boundary && hi >= roundDown(limit, chunk) && tooEarly(s, lo, limit, stop, part) {
		return Part{}, false
	}
	next := Part{s, lo, min(hi, boundary), lo - s.Pos}
	if from, to, ok := ss.fleet.pick(lo, limit, part, fetched); ok {
		next.Lo, next.Hi = from, to // as near as the nearest, for it is fetched in its place
	}
	return next, true
}

// Ask says whether the stream's window has room for a part that is still to be
// fetched, and has it taken up by Next if so.
func (ss *Streams) Ask(s *Stream, size int64, clock uint64, part int64, fetched Fetched) bool {
	if s.Ready {
		return true
	}
	if s.descends() && s.below > ss.bottom(s) {
		s.Ready = true
		return true
	}
	// First what is known without asking what was fetched.
	limit, stop := ss.limits(s, size, clock)
	lo := max(s.Pos, s.ahead)
	if early := limit < min(roundUp(lo+1, part), stop) && tooEarly(s, lo, limit, stop, part); early || lo >= limit {
		return false
	}
	_, s.Ready = ss.nextAhead(s, size, clock, part, fetched)
	return s.Ready
}

// limits is how far the stream is fetched: for now, and at most.
func (ss *Streams) limits(s *Stream, size int64, clock uint64) (limit, stop int64) {
	stop = min(roundUp(ss.stop(s, size, clock), chunk), size)
	return min(s.Pos+s.Window, stop), stop
}

// tooEarly says of a part from lo on that the window, which ends at limit, will
// have room for all of it soon, and that the reader has another one before it.
func tooEarly(s *Stream, lo, limit, stop, part int64) bool {
	return limit < stop && lo-s.Pos > part
}

// nextBelow is the next fetch below a stream that descends, the highest part
// first. Once all is there, down to what is read below it, it goes on above.
func (ss *Streams) nextBelow(s *Stream, partFor func(*Stream) int64, fetched Fetched) (Part, bool) {
	if !s.descends() {
		return Part{}, false
	}
	bottom := roundDown(ss.bottom(s), chunk)
	lo, hi, ok := fetched.GapBelow(bottom, s.below)
	if !ok {
		s.below = min(s.below, bottom)
		return Part{}, false
	}
	s.below = hi
	return Part{s, max(lo, roundDown(hi-1, partFor(s))), hi, s.start - hi}, true
}

// stop is the offset at which a stream's window ends: where a long, recently
// used run ahead of it began, for those bytes have been read, at the
// end of the run that it expects, and at the object's end.
func (ss *Streams) stop(s *Stream, size int64, clock uint64) int64 {
	stop, oldest := size, Ago(clock, ActiveBytes)
	for _, other := range ss.list {
		if other != s && other.start >= s.Pos && other.run() > maxReorder && other.used >= oldest {
			stop = min(stop, other.start)
		}
	}
	if s.expected > 0 && s.run() <= s.expected+runLengthTolerance {
		stop = min(stop, max(s.start+s.expected, s.Pos))
	}
	return stop
}

// bottom is the offset down to which a stream that descends is fetched: the end
// of what is read below it.
func (ss *Streams) bottom(s *Stream) int64 {
	bottom := max(s.start-s.Window, 0)
	for _, other := range ss.list {
		if other != s && other.start < s.start {
			bottom = max(bottom, min(other.Pos, s.start))
		}
	}
	return bottom
}
