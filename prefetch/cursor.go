package prefetch

import "slices"

// Limits of cursor matching.
const (
	// maxCursors is how many streams of one object version are told apart. The
	// Run:ai streamer uses 16 of one process, tensor parallel ranks one each.
	maxCursors = 64
	// reorder is how far from its expected place a read may arrive and still
	// belong to a stream: the kernel sends a readahead window of 4 MiB in
	// parallel, and an O_DIRECT reader splits its read.
	reorder = 8 << 20
	// slack is by how much runs of one length differ, since the kernel reads
	// beyond what was asked for, in windows of 4 MiB.
	slack = 4 << 20
	// bulkRead is a read so large that it announces a stream by itself.
	bulkRead = 1 << 20
	// substantial is how long a run must be before it ends the windows of the
	// streams behind it: what it began to read need not be fetched for them.
	substantial = 4 << 20
)

// cursor is one sequential stream over an object version, whatever handles and
// processes its reads come from. Pure state: offsets in bytes.
type cursor struct {
	start  int64  // where the run began
	pos    int64  // end of the furthest read of the run
	window int64  // how far beyond pos to fetch ahead; 0: not a stream yet
	ahead  int64  // everything in [pos, ahead) was seen fetched or in flight
	expect int64  // length that the run will have, learnt from the run before; 0: unknown
	credit int64  // bytes of run granted before the first read: the shard before was read through
	reads  int    // reads matched
	bytes  int64  // their sum
	used   uint64 // the cache's clock at the last read
	hungry bool   // in the scheduler's list

	// The last step of more than reorder, from one end of what was fetched to
	// the other: [left, landed) was skipped, or will be read next.
	left, landed int64

	// A C library copies from the end where the copy would otherwise run into
	// the processor's own aliasing.
	descents int   // reads just below start that came when none was waiting
	waiting  int   // reads that wait
	below    int64 // everything in [below, start) was seen fetched or in flight
}

// descends says that the stream is read downwards.
func (c *cursor) descends() bool { return c.descents >= 2 }

// advance moves the stream to the read [off, end).
func (c *cursor) advance(off, end int64) {
	switch {
	case off-c.pos > reorder:
		c.left, c.landed = c.pos, off
	case c.left < c.landed && abs(off-c.left) <= reorder && c.pos-off > reorder:
		// A copy looks at a tensor's end before it reads it from its beginning.
		c.pos, c.ahead, c.landed = end, end, c.left
	case off < c.start && c.start-end <= slack && c.waiting == 0:
		c.descents++
	}
	c.pos = max(c.pos, end)
	c.start = min(c.start, off)
	c.below = min(c.below, off)
}

// continues says that the read [off, end) is where a stream that goes down, or
// may begin to, is read next.
func (c *cursor) continues(off, end int64) bool {
	below := end <= c.start && c.start-end <= slack
	return c.window > 0 && (below || c.descends() && abs(off-c.start) <= slack)
}

// expects says that the read [off, end), which the stream's window covers, is
// one that it will come to. A stream that goes down begins anew above.
func (c *cursor) expects(off, end int64, covered covers) bool {
	return !(c.descends() && off > c.pos) && abs(off-c.pos) <= c.window && covered(off, end)
}

// run is how many bytes the stream has advanced.
func (c *cursor) run() int64 { return c.pos - c.start }

// dense says that the run was read, not jumped over: random reads that fall
// near each other by chance are no stream.
func (c *cursor) dense() bool { return 8*c.bytes >= c.run() }

// reach is how far from its expected place a read of n bytes may be to belong
// to the stream: near for one that is not proven.
func (c *cursor) reach(n int64) int64 {
	if c.window == 0 {
		return min(4*n, reorder)
	}
	return reorder
}

// cursors tells the streams of one object version apart. Not safe for
// concurrent use.
type cursors struct {
	list []*cursor // most recently used first
}

// covers says whether the bytes [off, end) are fetched or in flight.
type covers func(off, end int64) bool

// match finds the stream that the read [off, end) belongs to and advances it,
// or begins a new one; abandoned is then the stream that its reader has left
// for good, nil if there is none. now is the cache's clock.
func (cs *cursors) match(off, end int64, now uint64, covered covers) (c, abandoned *cursor) {
	best, bestDistance := -1, int64(0)
	for i, c := range cs.list {
		distance := abs(off - c.pos)
		if distance > c.reach(end-off) && !c.expects(off, end, covered) {
			continue
		}
		if best < 0 || distance < bestDistance {
			best, bestDistance = i, distance
		}
		if distance == 0 {
			break
		}
	}
	if best < 0 {
		best = slices.IndexFunc(cs.list, func(c *cursor) bool { return c.continues(off, end) })
	}
	if best < 0 {
		return cs.begin(off, end, now)
	}
	c = cs.list[best]
	copy(cs.list[1:best+1], cs.list[:best])
	cs.list[0] = c
	c.advance(off, end)
	c.reads++
	c.bytes += end - off
	c.used = now
	cs.merge(c, end-off)
	return c, nil
}

// merge drops the streams that c has caught up with, or that caught up with
// it: from here on their reads are one stream. So is a short run that begins
// where c is: a copy looked at the end of what c reads.
func (cs *cursors) merge(c *cursor, n int64) {
	cs.list = slices.DeleteFunc(cs.list, func(other *cursor) bool {
		caught := c.pos-n <= other.pos && other.pos <= c.pos
		joined := c.pos-n <= other.start && other.start <= c.pos && other.pos <= c.pos+reorder
		if other == c || !caught && !joined {
			return false
		}
		c.start, c.pos = min(c.start, other.start), max(c.pos, other.pos)
		c.bytes += other.bytes
		c.window = max(c.window, other.window)
		other.window = 0
		return true
	})
}

// begin starts a stream at a read that no stream expected. What the reader may
// have come from tells how long its runs are: a rank that reads its eighth of
// every tensor, a reader that skips tensors. A jump far beyond the window that no
// run before has foretold says that the bytes in it are not wanted.
func (cs *cursors) begin(off, end int64, now uint64) (c, abandoned *cursor) {
	c = &cursor{start: off, pos: end, ahead: off, below: off, reads: 1, bytes: end - off, used: now}
	if prev := cs.left(off); prev != nil && prev.descends() {
		c.descents, c.window, c.credit = prev.descents, prev.window, prev.run()+prev.credit
		prev.window = 0
	} else if prev != nil {
		c.expect = prev.run()
		if prev.expect == 0 && off-prev.pos > 2*prev.window {
			abandoned = prev
			prev.expect = prev.run() // a read or two of it may still be on their way
		}
	}
	if len(cs.list) < maxCursors {
		cs.list = append(cs.list, nil)
	} else {
		cs.list[maxCursors-1].window = 0
	}
	copy(cs.list[1:], cs.list)
	cs.list[0] = c
	return c, abandoned
}

// left is the stream that a reader which now appears at off probably left: the
// most recently used one behind it, with a run worth learning from.
func (cs *cursors) left(off int64) *cursor {
	for _, c := range cs.list {
		if c.pos <= off && c.run() >= substantial {
			return c
		}
	}
	return nil
}

// stop is the offset at which a stream's window ends: where a long, recently
// used run ahead of it began, for those bytes have been read, at the
// end of the run that it expects, and at the object's end.
func (cs *cursors) stop(c *cursor, size int64, oldest uint64) int64 {
	stop := size
	for _, other := range cs.list {
		if other != c && other.start >= c.pos && other.run() > reorder && other.used >= oldest {
			stop = min(stop, other.start)
		}
	}
	if c.expect > 0 && c.run() <= c.expect+slack {
		stop = min(stop, max(c.start+c.expect, c.pos))
	}
	return stop
}

// bottom is the offset down to which a stream that descends is fetched: the end
// of what is read below it.
func (cs *cursors) bottom(c *cursor) int64 {
	bottom := max(c.start-c.window, 0)
	for _, other := range cs.list {
		if other != c && other.start < c.start {
			bottom = max(bottom, min(other.pos, c.start))
		}
	}
	return bottom
}

// awaited says whether a live stream behind off will come to it, and a block
// there is worth keeping: a stream ends where another run ahead of it began.
func (cs *cursors) awaited(off int64, oldest uint64) bool {
	began := int64(-1) // where the run that read off began
	for _, c := range cs.list {
		if c.start <= off && c.run() >= substantial {
			began = max(began, c.start)
		}
	}
	for _, c := range cs.list {
		if c.window > 0 && c.used >= oldest && began < c.pos && c.pos <= off {
			return true
		}
	}
	return false
}

// calm closes all windows: after a failed fetch only demand tries again.
func (cs *cursors) calm() {
	for _, c := range cs.list {
		c.window = 0
	}
}

// hungry says whether the scheduler has a stream of these on its list.
func (cs *cursors) hungry() bool {
	return slices.ContainsFunc(cs.list, func(c *cursor) bool { return c.hungry })
}

// live counts the streams used since oldest.
func (cs *cursors) live(oldest uint64) int {
	n := 0
	for _, c := range cs.list {
		if c.window > 0 && c.used >= oldest {
			n++
		}
	}
	return n
}

// first is the stream at the object's beginning: the one that is there, or one
// that waits for its first read.
func (cs *cursors) first(now uint64) *cursor {
	for _, c := range cs.list {
		if c.start == 0 {
			return c
		}
	}
	c := &cursor{used: now}
	if len(cs.list) == maxCursors {
		cs.list[maxCursors-1].window = 0
		cs.list = cs.list[:maxCursors-1]
	}
	cs.list = append(cs.list, c)
	return c
}

func abs(n int64) int64 { return max(n, -n) }
