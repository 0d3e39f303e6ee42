package prefetch

// adviceDepth is how many of the longest unused blocks are looked at for one
// that retention advises against or that no stream will come to.
const adviceDepth = 32

// eviction chooses the idle blocks whose memory is taken. It looks only: the
// lists, the advice and the clock's times are what the cache has at the moment.
type eviction struct {
	retained, unread *blockList
	adviser          *adviser
	live             uint64 // streams read since then will come to their blocks
	dead             uint64 // what was fetched before then and not read never will be
}

// victim is what demand takes: a block that was read and that no stream will
// come to; then, among those that some stream will, the one that was read last
// and so is needed last; then what was fetched and never read, stale first, then
// the furthest ahead. nil where no block is idle.
func (e eviction) victim() *block {
	if b := e.expendable(); b != nil {
		return b
	}
	if b := e.retained.front; b != nil {
		return b
	}
	if b := e.stale(); b != nil {
		return b
	}
	return e.unread.front
}

// spare is what speculation takes: what no stream will come to. nil where there
// is none of it.
func (e eviction) spare() *block {
	if b := e.expendable(); b != nil {
		return b
	}
	return e.stale()
}

// expendable is, among the longest unused blocks, one that retention advises
// against, or else the longest unused that no stream will come to; nil if all
// are awaited.
func (e eviction) expendable() *block {
	var choice *block
	b := e.retained.back
	for i := 0; b != nil && i < adviceDepth; i, b = i+1, b.prev {
		if b.file.cursors.awaited(b.index*blockSize, e.live) {
			continue
		}
		if e.adviser.advisesAgainst(b.id) {
			return b
		}
		if choice == nil {
			choice = b
		}
	}
	return choice
}

// stale is a block that was fetched ahead and not read for so long that its
// stream is taken for dead.
func (e eviction) stale() *block {
	if b := e.unread.back; b != nil && b.fetchedAt < e.dead {
		return b
	}
	return nil
}
