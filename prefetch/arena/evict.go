package arena

const (
	// searchDepth is how many of the longest unused blocks are looked at for one
	// that no stream will come to.
	searchDepth = 32
	// ActiveBytes is how recently a stream must have been read to be expected.
	ActiveBytes = 128 << 20
)

// victim is what demand takes: a block that was read and that no stream will
// come to; then, among those that some stream will, the one that was read last
// and so is needed last; then what was fetched and never read, stale first, then
// the furthest ahead. 0 where no block is idle.
func (a *Arena) victim() id {
	if i := a.unneeded(); i != 0 {
		return i
	}
	for _, l := range []listName{once, again} {
		if i := a.lists[l].front; i != 0 {
			return i
		}
	}
	if i := a.stale(); i != 0 {
		return i
	}
	return a.lists[unread].front
}

// spare is what speculation takes: what no stream will come to. 0 where there is
// none of it.
func (a *Arena) spare() id {
	if i := a.unneeded(); i != 0 {
		return i
	}
	return a.stale()
}

// unneeded is, among the read blocks to be taken first, the first that no stream
// will come to; 0 if there is none.
func (a *Arena) unneeded() id {
	if i := a.lists[once].back; i != 0 && a.records[i].read == 0 {
		return i // fetched for an object that nobody has open
	}
	for _, l := range a.retainedFirst() {
		i := a.lists[l].back
		for n := 0; i != 0 && n < searchDepth; n++ {
			r := &a.records[i]
			if !a.needed(r, 0, max(uint64(a.frames)*BlockSize, ActiveBytes)) {
				return i
			}
			i = r.prev
		}
	}
	return 0
}

// stale is a block that was fetched ahead and not read for so long that its
// stream is taken for dead: while twice the arena was fetched.
func (a *Arena) stale() id {
	if i := a.lists[unread].back; i != 0 && a.mebibytes()-a.records[i].landed > 2*uint32(a.frames) {
		return i
	}
	return 0
}
