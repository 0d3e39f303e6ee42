package stream

// Needs are what the streams of an object version will come to, as eviction sees
// them.
type Needs []need

type need struct {
	start, pos int64
	used       uint64
	open       bool  // has a window
	end        int64 // of a range that was announced; 0: a stream
}

// Needs writes what was announced, and what the streams will come to, over old: of
// the streams nothing if none has a window.
func (ss *Streams) Needs(old Needs) Needs {
	old = old[:0]
	if len(ss.wanted) > 0 {
		old = ss.wantedNeeds(old)
	}
	announced, open := len(old), false
	for _, s := range ss.list {
		open = open || s.Window > 0
		old = append(old, need{s.start, s.Pos, s.used, s.Window > 0, 0})
	}
	if !open {
		return old[:announced]
	}
	return old
}

// Include says whether a stream that was read since oldest will come to off, so
// that what is there is worth keeping: a stream ends where another run ahead of
// it began.
func (ns Needs) Include(off int64, oldest uint64) bool {
	began := int64(-1) // where the run that read off began
	for _, n := range ns {
		if n.start <= off && n.pos-n.start >= minRunToLearn {
			began = max(began, n.start)
		}
	}
	for _, n := range ns {
		if n.end > 0 && n.used >= oldest && off < n.end && n.pos < off+block {
			return true
		}
		if n.open && n.used >= oldest && began < n.pos && n.pos <= off {
			return true
		}
	}
	return false
}
