package stream

import "weightfs/remote"

// Policy is the arithmetic of how far a stream is fetched ahead. Bytes.
type Policy struct {
	Mode     Mode
	PartSize int64 // the largest GET; 0: by what connections carry
	Fleet    Fleet
}

// floorWindow is what a proven stream gets whatever its run: enough that the
// next parts are on their way while the first is read.
const floorWindow = 8 << 20

// Next is the window of a stream after a read. stalled says that the reader
// has caught up: it had to wait for the bytes. share is what fairness and
// memory allow. The window doubles only on a stall, and is never longer than
// the run so far (or floorWindow): a reader that stops after one tensor wastes
// at most as much as it read. Where connections are fast, bytes are cheap
// beside GETs: there it is up to PartFactor times the run, as long as that makes
// its GETs larger.
func (p Policy) Next(s *Stream, stalled bool, share int64, store remote.Connections) int64 {
	if p.Mode == Off || !p.proven(s) {
		return 0
	}
	window := max(s.Window, 2*bulkRead)
	if stalled {
		window *= 2
	}
	if p.Mode == Auto {
		run := s.run() + s.inherited
		window = min(window, max(run, floorWindow, min(run*store.PartFactor(), 2*p.largestPart(store))))
	}
	return min(window, share)
}

// proven says that the reads of a stream look like a stream.
func (p Policy) proven(s *Stream) bool {
	if !s.dense() {
		return p.Mode == Sequential
	}
	return p.Mode == Sequential || s.Window > 0 || s.reads > 2 && s.run() >= 4*chunk || s.run() >= bulkRead
}

// basePart is the largest GET of a store that takes many connections.
const basePart = 8 << 20

// largestPart is the largest GET of a store.
func (p Policy) largestPart(store remote.Connections) int64 {
	if p.PartSize != 0 {
		return p.PartSize
	}
	return basePart * store.PartFactor()
}

// Part is the size of one GET of one of so many streams: what it has read or
// will fetch ahead, divided by its share of the connections, so that a young
// stream alone is carried by many and an old one, or one of many, pays for few
// requests; at most the largest GET, and so much of its window that the next
// GETs are under way when one is read. A power of two below the largest, so
// that the GETs tile.
func (p Policy) Part(s *Stream, store remote.Connections, streams int) int64 {
	share := max(1, store.Busy()/streams)
	pieces := max(min(share, 4), min(remote.ManyConnections/streams, 2))
	limit := min(max(s.Window, s.run()+s.inherited)/int64(share), s.Window/int64(pieces))
	largest := p.largestPart(store)
	if limit >= largest {
		return largest
	}
	size := max(block, p.Fleet.Block)
	for size*2 <= limit {
		size *= 2
	}
	return min(size, largest)
}

// minimumFetch is what a read that belongs to no stream fetches at least: a
// round trip costs far more than these bytes.
const minimumFetch = 128 << 10

// FirstFetch is what the first read of an object's beginning fetches: the
// header of a checkpoint nearly always lies in it.
const FirstFetch = 1 << 20

// DemandEnd is where a fetch for the missing bytes [off, end) should end, for
// a stream whose GETs are of part bytes.
func (p Policy) DemandEnd(s *Stream, part, off, end, size int64) int64 {
	want := roundUp(end, chunk)
	switch {
	case p.Mode == Off:
	case s.Window > 0:
		want = max(want, min(roundUp(off+1, part), roundUp(s.Pos+s.Window, chunk)))
	case off == 0:
		want = max(want, FirstFetch)
	default:
		want = max(want, roundUp(off+minimumFetch, chunk))
	}
	return min(want, size)
}
