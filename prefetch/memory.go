package prefetch

// hold takes the block out of the reach of eviction and counts its holder.
func (c *Cache) hold(b *block, holders *int) {
	b.unlink()
	if holders == &b.writers && b.writers == 0 {
		c.inflight++
	}
	*holders++
}

// release undoes hold. A block that nobody holds comes to rest where eviction
// finds it, and those who wait for memory get their turn.
func (c *Cache) release(b *block, holders *int) {
	*holders--
	if holders == &b.writers && b.writers == 0 {
		c.inflight--
	}
	if !b.idle() {
		return
	}
	switch {
	case b.have == 0:
		c.evict(b)
	case b.consumed(), b.read != 0 && !c.awaited(b):
		c.retained.pushFront(b)
	case b.read != 0:
		b.fetchedAt = c.clock
		c.unread.pushBack(b) // a stream is in the middle of it
	default:
		b.fetchedAt = c.clock
		c.unread.pushFront(b)
	}
	c.feed()
}

// awaited says whether a live stream will come to the block's last byte. What
// was read of it by nobody's stream, a header of which a megabyte was fetched or
// a small read, was served: it must not count as fetched ahead.
func (c *Cache) awaited(b *block) bool {
	return b.file.cursors.awaited((b.index+1)*blockSize-1, c.oldest(activeBytes))
}

// evict takes an idle block's memory back.
func (c *Cache) evict(b *block) {
	b.unlink()
	delete(b.file.blocks, b.index)
	c.arena.give(b.slot)
	c.stats.Evictions++
	c.afterUnlock = append(c.afterUnlock, func() { c.adviser.forget(b.id) })
	c.forgetIfUnused(b.file)
}

// newBlock takes memory for a block that the file has not. The caller has
// reserved it, and holds the block before anything else happens.
func (c *Cache) newBlock(f *file, index int64) *block {
	b := &block{file: f, index: index, id: f.blockID(index), slot: c.arena.take()}
	f.blocks[index] = b
	return b
}

// eviction chooses blocks as of now.
func (c *Cache) eviction() eviction {
	return eviction{
		retained: &c.retained, unread: &c.unread, adviser: c.adviser,
		live: c.oldest(max(c.arenaBytes(), activeBytes)),
		dead: c.oldest(2 * c.arenaBytes()),
	}
}

// reserveAhead makes room for n blocks of speculation, without taking from
// what streams have fetched or will read, and never more than it is
// allowed.
func (c *Cache) reserveAhead(n int) bool {
	if len(c.starved) > 0 {
		return false
	}
	for c.unread.len+c.inflight+n > c.allowance().ahead() {
		b := c.eviction().stale()
		if b == nil {
			return false
		}
		c.evict(b)
	}
	for c.arena.available() < n {
		b := c.eviction().spare()
		if b == nil {
			return false
		}
		c.evict(b)
	}
	return true
}

// allowance is what speculation may have.
func (c *Cache) allowance() allowance { return allowance{int(c.arena.slots)} }

func (c *Cache) arenaBytes() uint64 { return uint64(c.arena.slots) * blockSize }

// oldest is the clock's time n bytes ago.
func (c *Cache) oldest(n uint64) uint64 { return c.clock - min(c.clock, n) }

// feed gives the memory that became free to those who wait for it, in order.
func (c *Cache) feed() {
	for len(c.starved) > 0 {
		v := c.starved[0]
		if !c.claimBlocks(v) {
			return
		}
		c.starved = c.starved[1:]
		c.demand(v)
		if v.file.present(v.off, v.end()) {
			close(v.ready)
			continue
		}
		v.file.waiters = append(v.file.waiters, v)
	}
}

// tryLease gives the view all of its blocks, or none if memory is short or
// others wait for it already; then speculation has to give way.
func (c *Cache) tryLease(v *View) bool {
	if len(c.starved) > 0 {
		if v.missing() > 0 {
			return false
		}
	}
	if !c.claimBlocks(v) {
		c.shrink(v.missing())
		return false
	}
	c.demand(v)
	return true
}

// missing is how many of the view's blocks do not exist.
func (v *View) missing() int { return v.file.missing(v.off, v.end()) }

// idle is how many of the view's blocks nobody holds.
func (v *View) idle() (n int) {
	v.file.span(v.off, v.end(), func(_ int64, b *block, _, _ int64) bool {
		if b != nil && b.idle() {
			n++
		}
		return true
	})
	return n
}

// claimBlocks leases all blocks of the view, or none, and then leaves the lists
// of idle blocks as they were.
func (c *Cache) claimBlocks(v *View) bool {
	f := v.file
	missing := v.missing()
	if missing > 0 && c.arena.available()+c.retained.len+c.unread.len-v.idle() < missing {
		return false
	}
	f.span(v.off, v.end(), func(_ int64, b *block, _, _ int64) bool {
		if b != nil {
			c.hold(b, &b.leases)
		}
		return true
	})
	for c.arena.available() < missing {
		c.evict(c.eviction().victim())
	}
	v.blocks = v.blockSpace[:0]
	f.span(v.off, v.end(), func(index int64, b *block, _, _ int64) bool {
		if b == nil {
			b = c.newBlock(f, index)
			c.hold(b, &b.leases)
		}
		v.blocks = append(v.blocks, b)
		return true
	})
	c.leases += len(v.blocks)
	return true
}
