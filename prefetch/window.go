package prefetch

import "weightfs/remote"

// windowPolicy is the arithmetic of how far a stream is fetched ahead. Bytes.
type windowPolicy struct {
	mode Mode
	part int64 // the largest GET; 0: by what connections carry
}

// floorWindow is what a proven stream gets whatever its run: enough that the
// next parts are on their way while the first is read.
const floorWindow = 8 << 20

// next is the window of a stream after a read. stalled says that the reader
// has caught up: it had to wait for the bytes. share is what fairness and
// memory allow. The window doubles only on a stall, and is never longer than
// the run so far (or floorWindow): a reader that stops after one tensor wastes
// at most as much as it read. Where connections are fast, bytes are cheap
// beside GETs: there it is up to PartFactor times the run, as long as that makes
// its GETs larger.
func (p windowPolicy) next(c *cursor, stalled bool, share int64, store remote.Connections) int64 {
	if p.mode == Off || !p.proven(c) {
		return 0
	}
	window := max(c.window, 2*bulkRead)
	if stalled {
		window *= 2
	}
	if p.mode == Auto {
		run := c.run() + c.credit
		window = min(window, max(run, floorWindow, min(run*store.PartFactor(), 2*p.largestPart(store))))
	}
	return min(window, share)
}

// proven says that the reads of a cursor look like a stream.
func (p windowPolicy) proven(c *cursor) bool {
	if !c.dense() {
		return p.mode == Sequential
	}
	return p.mode == Sequential || c.window > 0 || c.reads > 2 && c.run() >= 4*chunkSize || c.run() >= bulkRead
}

// basePart is the largest GET of a store that takes many connections.
const basePart = 8 << 20

// largestPart is the largest GET of a store.
func (p windowPolicy) largestPart(store remote.Connections) int64 {
	if p.part != 0 {
		return p.part
	}
	return basePart * store.PartFactor()
}

// partFor is the size of one GET of one of so many streams: what it has read or
// will fetch ahead, divided by its share of the connections, so that a young
// stream alone is carried by many and an old one, or one of many, pays for few
// requests; at most the largest GET, and so much of its window that the next
// GETs are under way when one is read. A power of two below the largest, so
// that the GETs tile.
func (p windowPolicy) partFor(c *cursor, store remote.Connections, streams int) int64 {
	share := max(1, store.Busy()/streams)
	pieces := max(min(share, 4), min(remote.ManyConnections/streams, 2))
	limit := min(max(c.window, c.run()+c.credit)/int64(share), c.window/int64(pieces))
	largest := p.largestPart(store)
	if limit >= largest {
		return largest
	}
	size := int64(blockSize)
	for size*2 <= limit {
		size *= 2
	}
	return min(size, largest)
}

// minimumFetch is what a read that belongs to no stream fetches at least: a
// round trip costs far more than these bytes.
const minimumFetch = 128 << 10

// firstFetch is what the first read of an object's beginning fetches: the
// header of a checkpoint nearly always lies in it.
const firstFetch = 1 << 20

// demandEnd is where a fetch for the missing bytes [off, end) should end, for
// a stream whose GETs are of part bytes.
func (p windowPolicy) demandEnd(c *cursor, part, off, end, size int64) int64 {
	want := roundUp(end, chunkSize)
	switch {
	case p.mode == Off:
	case c.window > 0:
		want = max(want, min(roundUp(off+1, part), roundUp(c.pos+c.window, chunkSize)))
	case off == 0:
		want = max(want, firstFetch)
	default:
		want = max(want, roundUp(off+minimumFetch, chunkSize))
	}
	return min(want, size)
}
