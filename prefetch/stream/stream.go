package stream

import "slices"

const (
	// maxStreams is how many streams of one object version are told apart. The
	// Run:ai streamer uses 16 of one process, tensor parallel ranks one each.
	maxStreams = 64
	// maxReorder is how far from its expected place a read may arrive and still
	// belong to a stream: the kernel sends a readahead window of 4 MiB in
	// parallel, and an O_DIRECT reader splits its read.
	maxReorder = 8 << 20
	// runLengthTolerance is by how much runs of one length differ, since the
	// kernel reads beyond what was asked for, in windows of 4 MiB.
	runLengthTolerance = 4 << 20
	// bulkRead is a read so large that it announces a stream by itself.
	bulkRead = 1 << 20
	// minRunToLearn is how long a run must be before others learn from it: its
	// length, that its reader left another stream, and that what it began to read
	// need not be fetched for those behind it.
	minRunToLearn = 4 << 20
)

// Stream is one run of reads of an object version. Offsets in bytes.
type Stream struct {
	Pos    int64 // end of the furthest read of the run
	Window int64 // how far beyond Pos it is fetched; 0: not a stream yet
	Ready  bool  // the window may have room for a part

	// Waiting counts the reads that wait for bytes: kept by the owner.
	Waiting int

	start     int64  // where the run began
	ahead     int64  // everything in [Pos, ahead) was seen fetched or in flight
	expected  int64  // length that the run will have, learnt from the run before; 0: unknown
	inherited int64  // bytes of run granted before the first read: the shard before was read through
	reads     int    // reads matched
	bytes     int64  // their sum
	used      uint64 // the clock at the last read
	reader    uint64 // whose read that was; 0: none yet
	epoch     uint64 // of the census; 0: not counted

	// The stream that the reader may have left for this one, and how often that
	// had been read then.
	before      *Stream
	beforeReads int

	// The last step of more than maxReorder, from one end of what was fetched to
	// the other: [left, landed) was skipped, or will be read next.
	left, landed int64

	// A C library copies from the end where the copy would otherwise run into
	// the processor's own aliasing.
	descents int   // reads just below start that came when none was waiting
	below    int64 // everything in [below, start) was seen fetched or in flight
}

// Fetched answers for ranges of the object what is in the cache or on its way.
type Fetched interface {
	// Covered says whether all of [off, end) is.
	Covered(off, end int64) bool
	// Gap is the first maximal range of whole chunks in [off, end) that is not.
	Gap(off, end int64) (lo, hi int64, ok bool)
	// GapBelow is the last one.
	GapBelow(off, end int64) (lo, hi int64, ok bool)
}

// descends says that the stream is read downwards.
func (s *Stream) descends() bool { return s.descents >= 2 }

// jumps says that a read at off does not go on where the stream was read: further
// from there than reads come out of order, or than the kernel reads ahead while no
// other read waits.
func (s *Stream) jumps(off int64) bool {
	distance := abs(off - s.Pos)
	return distance > maxReorder || distance >= runLengthTolerance && s.Waiting == 0
}

// advance moves the stream to the read [off, end).
func (s *Stream) advance(off, end int64) {
	switch {
	case off-s.Pos > maxReorder:
		s.left, s.landed = s.Pos, off
	case s.left < s.landed && abs(off-s.left) <= maxReorder && s.Pos-off > maxReorder:
		// A copy looks at a tensor's end before it reads it from its beginning.
		s.Pos, s.ahead, s.landed = end, end, s.left
	case off < s.start && s.start-end <= runLengthTolerance && s.Waiting == 0:
		s.descents++
	}
	s.Pos = max(s.Pos, end)
	s.start = min(s.start, off)
	s.below = min(s.below, off)
}

// continuesBelow says that the read [off, end) is where a stream that goes down,
// or may begin to, is read next.
func (s *Stream) continuesBelow(off, end int64) bool {
	below := end <= s.start && s.start-end <= runLengthTolerance
	return s.Window > 0 && (below || s.descends() && abs(off-s.start) <= runLengthTolerance)
}

// expects says that the read [off, end), which the stream's window covers, is
// one that it will come to. A stream that goes down begins anew above.
func (s *Stream) expects(off, end int64, fetched Fetched) bool {
	return !(s.descends() && off > s.Pos) && abs(off-s.Pos) <= s.Window && fetched.Covered(off, end)
}

// run is how many bytes the stream has advanced.
func (s *Stream) run() int64 { return s.Pos - s.start }

// dense says that the run was read, not jumped over: random reads that fall
// near each other by chance are no stream.
func (s *Stream) dense() bool { return 8*s.bytes >= s.run() }

// reach is how far from its expected place a read of n bytes may be to belong
// to the stream: near for one that is not proven.
func (s *Stream) reach(n int64) int64 {
	if s.Window == 0 {
		return min(4*n, maxReorder)
	}
	return maxReorder
}

// leftBehind is the stream that the reader of s has left for good: it has no other,
// or that one was not read while s came far enough to tell. nil if there is none.
func (ss *Streams) leftBehind(s *Stream) *Stream {
	if s.before == nil || s.run() < minRunToLearn && !ss.moved(s) {
		return nil
	}
	before := s.before
	s.before = nil
	if before.reads != s.beforeReads {
		s.expected = 0 // another reader has it, and tells nothing of this one
		return nil
	}
	before.expected = before.run() // a read or two of it may still be on their way
	return before
}

// moved says that the reader of s was where s came from, and nowhere else. Reads
// that wait there may be the kernel's own, ahead of what was asked for.
func (ss *Streams) moved(s *Stream) bool {
	return s.before.reader == s.reader && !slices.ContainsFunc(ss.list, func(other *Stream) bool {
		return other != s && other != s.before && other.reader == s.reader && other.Window > 0
	})
}

// Streams tells the streams of one object version apart. Not safe for concurrent
// use.
type Streams struct {
	list        []*Stream // most recently used first
	wanted      []wanted  // in the order that they were said
	wantedBytes int64     // their sum
	wantedShare int64     // how far ahead of what is read next they are fetched
	wantedEpoch uint64    // of the census; 0: not counted
	wantedUsed  uint64    // the clock when some of it was last announced or read
	census      *Census
	fleet       Fleet
}

// NewStreams makes the streams of an object version, counted by a census.
func NewStreams(census *Census, fleet Fleet) Streams { return Streams{census: census, fleet: fleet} }

// Match is a read and its stream.
type Match struct {
	Stream *Stream
	// Jumped says that the stream was not expected to be read here next.
	Jumped bool
	// Left is the stream that the reader has left for good; nil if there is none.
	Left *Stream
}

// Match finds the stream that the read [off, end) belongs to and advances it,
// or begins a new one. reader tells the object's readers apart, from 1 on.
func (ss *Streams) Match(reader uint64, off, end int64, clock uint64, fetched Fetched) Match {
	best := ss.nearest(off, end, fetched)
	if best < 0 {
		best = slices.IndexFunc(ss.list, func(s *Stream) bool { return s.continuesBelow(off, end) })
	}
	if best < 0 {
		s := ss.begin(reader, off, end, clock)
		return Match{Stream: s, Jumped: true, Left: ss.leftBehind(s)}
	}
	s := ss.list[best]
	copy(ss.list[1:best+1], ss.list[:best])
	ss.list[0] = s
	m := Match{Stream: s, Jumped: s.jumps(off)}
	s.advance(off, end)
	s.reads++
	s.bytes += end - off
	s.used, s.reader = clock, reader
	ss.merge(s, end-off)
	m.Left = ss.leftBehind(s)
	return m
}

// nearest is the place of the stream that comes next to the read, or -1.
func (ss *Streams) nearest(off, end int64, fetched Fetched) int {
	best, bestDistance := -1, int64(0)
	for i, s := range ss.list {
		distance := abs(off - s.Pos)
		if distance > s.reach(end-off) && !s.expects(off, end, fetched) {
			continue
		}
		if best < 0 || distance < bestDistance {
			best, bestDistance = i, distance
		}
		if distance == 0 {
			break
		}
	}
	return best
}

// merge drops the streams that s has caught up with, or that caught up with
// it: from here on their reads are one stream. So is a short run that begins
// where s is: a copy looked at the end of what s reads.
func (ss *Streams) merge(s *Stream, n int64) {
	if len(ss.list) == 1 {
		return
	}
	ss.list = slices.DeleteFunc(ss.list, func(other *Stream) bool {
		caught := s.Pos-n <= other.Pos && other.Pos <= s.Pos
		joined := s.Pos-n <= other.start && other.start <= s.Pos && other.Pos <= s.Pos+maxReorder
		if other == s || !caught && !joined {
			return false
		}
		s.start, s.Pos = min(s.start, other.start), max(s.Pos, other.Pos)
		s.bytes += other.bytes
		s.Window = max(s.Window, other.Window)
		ss.close(other)
		return true
	})
}

// begin starts a stream at a read that no stream expected. What the reader may
// have come from tells how long its runs are: a rank that reads its eighth of
// every tensor, a reader that skips tensors. A jump far beyond the window that no
// run before has foretold says that the bytes in it are not wanted, unless
// another reader is there.
func (ss *Streams) begin(reader uint64, off, end int64, clock uint64) *Stream {
	s := &Stream{start: off, Pos: end, ahead: off, below: off, reads: 1, bytes: end - off, used: clock, reader: reader}
	if prev := ss.behind(off); prev != nil && prev.descends() {
		s.descents, s.Window, s.inherited = prev.descents, prev.Window, prev.run()+prev.inherited
		ss.close(prev)
	} else if prev != nil {
		s.expected = prev.run()
		if prev.expected == 0 && off-prev.Pos > 2*prev.Window {
			s.before, s.beforeReads = prev, prev.reads
		}
	}
	ss.makeRoom()
	ss.list = append(ss.list, nil)
	copy(ss.list[1:], ss.list)
	ss.list[0] = s
	return s
}

// makeRoom drops the stream that was read least recently if there are too many.
func (ss *Streams) makeRoom() {
	if len(ss.list) == maxStreams {
		ss.close(ss.list[maxStreams-1])
		ss.list = ss.list[:maxStreams-1]
	}
}

// behind is the stream that a reader which now appears at off probably left: the
// most recently used one behind it, with a run worth learning from.
func (ss *Streams) behind(off int64) *Stream {
	for _, s := range ss.list {
		if s.Pos <= off && s.run() >= minRunToLearn {
			return s
		}
	}
	return nil
}

// First is the stream at the object's beginning, the one that is there or one
// that waits for its first read, with a window that the end of the object before
// opens; nil if it has its own reader already.
func (ss *Streams) First(window int64, clock uint64) *Stream {
	i := slices.IndexFunc(ss.list, func(s *Stream) bool { return s.start == 0 })
	if i < 0 {
		ss.makeRoom()
		i = len(ss.list)
		ss.list = append(ss.list, &Stream{})
	}
	s := ss.list[i]
	if s.reads > 0 {
		return nil
	}
	s.inherited, s.used = window, clock
	ss.Open(s, max(s.Window, window), clock)
	return s
}

// Open sets the window of a stream that was read at the time clock.
func (ss *Streams) Open(s *Stream, window int64, clock uint64) {
	if s.Window = window; window == 0 {
		ss.close(s)
		return
	}
	s.epoch = ss.census.seen(s.epoch, clock)
}

// close closes a stream's window.
func (ss *Streams) close(s *Stream) {
	s.Window, s.Ready = 0, false
	s.epoch = ss.census.gone(s.epoch)
}

// CloseWindows closes all windows: after a failed fetch only demand tries again.
func (ss *Streams) CloseWindows() {
	for _, s := range ss.list {
		ss.close(s)
	}
}

// Forget drops all streams, and what is wanted.
func (ss *Streams) Forget() {
	ss.CloseWindows()
	ss.list, ss.wanted, ss.wantedBytes = nil, nil, 0
	ss.wantedEpoch = ss.census.gone(ss.wantedEpoch)
}

// Leave gives up what was to be fetched for a stream that its reader left, which
// goes on if another reads it.
func (s *Stream) Leave() { s.Ready, s.ahead = false, s.Pos }

// Covers says whether off lies in the stream's window.
func (s *Stream) Covers(off int64) bool { return s.Pos <= off && off < s.Pos+s.Window }

// Windows is how many streams have been read lately, and the sum of their windows.
func (ss *Streams) Windows(clock uint64) (n, bytes int64) {
	for _, s := range ss.list {
		if s.Window > 0 && s.used >= Ago(clock, ActiveBytes) {
			n++
			bytes += s.Window
		}
	}
	return n, bytes
}

// Ago is the clock's time n bytes ago.
func Ago(clock, n uint64) uint64 { return clock - min(clock, n) }
