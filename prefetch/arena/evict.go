package arena

const (
	// adviceDepth is how many of the longest unused blocks are looked at for one
	// that no stream will come to.
	adviceDepth = 32
	// ActiveBytes is how recently a stream must have been read to be expected.
	ActiveBytes = 128 << 20
)

// victim is what demand takes: a block that was read and that no stream will
// come to; then, among those that some stream will, the one that was read last
// and so is needed last; then what was fetched and never read, stale first, then
// the furthest ahead. 0 where no block is idle.
func (a *Arena) victim() id {
	if i := a.spare(); i != 0 && (a.records[i].list == retained || a.lists[retained].front == 0) {
		return i
	}
	if i := a.lists[retained].front; i != 0 {
		return i
	}
	return a.lists[unread].front
}

// spare is what speculation takes: what no stream will come to. 0 where there is
// none of it.
func (a *Arena) spare() id {
	i := a.lists[retained].back
	for n := 0; i != 0 && n < adviceDepth; n++ {
		r := &a.records[i]
		if !a.needed(r, 0, max(uint64(a.frames)*BlockSize, ActiveBytes)) {
			return i
		}
		i = r.prev
	}
	return a.stale()
}

// stale is a block that was fetched ahead and not read for so long that its
// stream is taken for dead: while twice the arena was fetched.
func (a *Arena) stale() id {
	if i := a.lists[unread].back; i != 0 && a.mebibytes()-a.records[i].landed > 2*uint32(a.frames) {
		return i
	}
	return 0
}
