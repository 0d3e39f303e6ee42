package prefetch

import (
	"context"
	"fmt"
	"slices"
)

// activeBytes is how recently a stream must have been read to count: while
// this many bytes were fetched, every live stream among 64 got a turn.
const activeBytes = 128 << 20

// streamCount caches how many streams share the memory for speculation.
type streamCount struct {
	n     int
	again uint64 // the clock when it is to be counted anew
}

// liveStreams counts the streams of all files, anew every few megabytes.
func (c *Cache) liveStreams() int64 {
	const recount = 4 << 20
	if c.clock >= c.streams.again {
		n := 0
		for _, f := range c.files {
			n += f.cursors.live(c.oldest(activeBytes))
		}
		c.streams = streamCount{n: n, again: c.clock + recount}
	}
	return int64(max(c.streams.n, 1))
}

// partFor is the size of a stream's GETs.
func (c *Cache) partFor(cur *cursor) int64 {
	return c.policy.partFor(cur, c.connections, int(c.liveStreams()))
}

// follow finds the stream that a read belongs to and opens its window.
func (c *Cache) follow(v *View) {
	f := v.file
	var abandoned *cursor
	v.cursor, abandoned = f.cursors.match(v.off, v.end(), c.clock, f.covered)
	if abandoned != nil {
		c.giveUpWindow(stream{f, abandoned})
	}
	share := c.allowance().share(c.liveStreams())
	v.cursor.window = c.policy.next(v.cursor, !f.present(v.off, v.end()), share, c.connections)
	if v.cursor.window == 0 {
		return
	}
	c.starve(stream{f, v.cursor})
	c.lookBeyond(f, v.cursor)
}

// starve puts a stream on the scheduler's list.
func (c *Cache) starve(s stream) {
	if !s.cursor.hungry {
		s.cursor.hungry = true
		c.hungry = append(c.hungry, s)
	}
}

// giveUpWindow ends the speculation of a stream that its reader left, which goes
// on if another reads it.
func (c *Cache) giveUpWindow(s stream) {
	s.cursor.hungry = false
	c.hungry = slices.DeleteFunc(c.hungry, func(other stream) bool { return other == s })
	for _, fl := range slices.Clone(s.file.flights) {
		inWindow := s.cursor.pos <= fl.lo && fl.lo < s.cursor.pos+s.cursor.window
		if inWindow && !fl.demand && !fl.awaited() {
			c.cancel(fl)
		}
	}
	s.cursor.ahead = s.cursor.pos
}

// lookBeyond lets a window that reaches past the end of a file that is read
// through open on the next shard.
func (c *Cache) lookBeyond(f *file, cur *cursor) {
	beyond := cur.pos + cur.window - f.obj.Size
	if c.cfg.Successor == nil || c.policy.mode == Off || beyond <= 0 || 2*f.read < f.obj.Size {
		return
	}
	if !f.announced {
		f.announced = true
		c.afterUnlock = append(c.afterUnlock, func() { c.announce(f, beyond) })
		return
	}
	c.extend(f, beyond)
}

// announce asks which object comes next. Called without the lock.
func (c *Cache) announce(f *file, beyond int64) {
	next, ok := c.cfg.Successor(f.obj)
	c.mu.Lock()
	defer c.unlock()
	if !ok || c.closed {
		f.announced = false // the listing may be there when it is asked for again
		return
	}
	f.next = &next
	c.extend(f, beyond)
}

// extend opens the window of the next shard's first stream.
func (c *Cache) extend(f *file, beyond int64) {
	if f.next == nil || beyond <= 0 || f.next.Size == 0 {
		return
	}
	next := c.fileOf(*f.next)
	cur := next.cursors.first(c.clock)
	if cur.reads > 0 {
		return // its own reader is there
	}
	cur.window, cur.credit, cur.used = max(cur.window, beyond), beyond, c.clock
	c.starve(stream{next, cur})
}

// demand makes flights for what the view lacks and nobody fetches yet.
func (c *Cache) demand(v *View) {
	f := v.file
	for {
		lo, hi, ok := f.gap(v.off, v.end())
		if !ok {
			return
		}
		hi = c.stretch(f, v.cursor, lo, hi)
		c.queue = append(c.queue, c.newFlight(f, lo, hi, true))
	}
}

// stretch lengthens a demanded fetch as far as its stream makes sensible and
// memory for speculation allows.
func (c *Cache) stretch(f *file, cur *cursor, lo, hi int64) int64 {
	want := c.policy.demandEnd(cur, c.partFor(cur), lo, hi, f.obj.Size)
	if want <= hi {
		return hi
	}
	from, to, ok := f.gap(hi, want)
	if !ok || from != hi {
		return hi
	}
	if c.makeRoom(f, hi, to) {
		return to
	}
	return min(to, roundUp(hi, blockSize)) // the rest of the block is there anyhow
}

// makeRoom reserves memory for the blocks of [lo, hi) that the file has not,
// for speculation: all or nothing. The caller makes a flight over them at once.
func (c *Cache) makeRoom(f *file, lo, hi int64) bool {
	for n := f.missing(lo, hi); ; {
		if !c.reserveAhead(n) {
			return false
		}
		before := n
		if n = f.missing(lo, hi); n == before {
			return true
		}
		// A block of the range itself was evicted.
	}
}

// newFlight claims the chunks of [lo, hi), which nobody has claimed.
func (c *Cache) newFlight(f *file, lo, hi int64, demand bool) *flight {
	if lo%chunkSize != 0 || hi%chunkSize != 0 && hi != f.obj.Size {
		panic(fmt.Sprintf("prefetch: flight [%d,%d) of %d bytes splits a chunk", lo, hi, f.obj.Size))
	}
	fl := &flight{file: f, lo: lo, hi: hi, pos: lo, demand: demand, since: c.now()}
	fl.ctx, fl.cancel = context.WithCancelCause(c.ctx)
	f.span(lo, hi, func(index int64, b *block, from, to int64) bool {
		if b == nil {
			b = c.newBlock(f, index)
		}
		c.hold(b, &b.writers)
		b.claimed |= chunksTouching(from, to)
		fl.blocks = append(fl.blocks, b)
		return true
	})
	f.flights = append(f.flights, fl)
	return fl
}

// pump starts as many flights as the concurrency allows: those that readers
// wait for in their order, then speculation, nearest need first.
func (c *Cache) pump() {
	if c.closed {
		return
	}
	for len(c.queue) > 0 {
		if c.active >= c.limit.demanded() {
			c.limit.hold()
			return
		}
		fl := c.queue[0]
		c.queue = c.queue[1:]
		c.launch(fl)
	}
	for len(c.hungry) > 0 {
		if c.active >= c.limit.speculative() {
			c.limit.hold()
			return
		}
		fl := c.speculate()
		if fl == nil {
			return
		}
		c.launch(fl)
	}
}

func (c *Cache) launch(fl *flight) {
	if c.active == 0 {
		c.limit.begin(c.now())
	}
	c.active++
	fl.began = c.now()
	c.stats.Fetches++
	c.goroutines.Add(1)
	go c.run(fl)
}

// speculate makes the flight that some stream will need soonest, or nil if no
// window has room or memory is short.
func (c *Cache) speculate() *flight {
	var best ahead
	c.hungry = slices.DeleteFunc(c.hungry, func(s stream) bool {
		a, ok := c.nextAhead(s)
		if !ok {
			s.cursor.hungry = false
			c.forgetIfUnused(s.file) // the next shard, say, that nobody opened
			return true
		}
		if best.file == nil || a.distance < best.distance {
			best = a
		}
		return false
	})
	if best.file == nil || !c.makeRoom(best.file, best.lo, best.hi) {
		return nil
	}
	return c.newFlight(best.file, best.lo, best.hi, false)
}

// ahead is a fetch that a stream wants.
type ahead struct {
	file     *file
	lo, hi   int64
	distance int64 // from the reader to lo
}

// nextAhead is the next fetch in a stream's window: a whole part, or less
// where the part's rest is there, the window ends for good, or the reader has
// nothing else before it.
func (c *Cache) nextAhead(s stream) (ahead, bool) {
	if a, ok := c.nextBelow(s); ok {
		return a, true
	}
	f, cur := s.file, s.cursor
	stop := min(roundUp(f.cursors.stop(cur, f.obj.Size, c.oldest(activeBytes)), chunkSize), f.obj.Size)
	limit := min(cur.pos+cur.window, stop)
	lo, hi, ok := f.gap(max(cur.pos, cur.ahead), limit)
	if !ok {
		cur.ahead = max(cur.ahead, limit)
		return ahead{}, false
	}
	cur.ahead = lo
	part := c.partFor(cur)
	boundary := min(roundUp(lo+1, part), stop)
	if hi < boundary && hi >= roundDown(limit, chunkSize) && limit < stop && lo-cur.pos > part {
		return ahead{}, false // the window will have room for the whole part soon
	}
	return ahead{f, lo, min(hi, boundary), lo - cur.pos}, true
}

// nextBelow is the next fetch below a stream that descends, the highest part
// first. Once all is there, down to what is read below, it goes on above.
func (c *Cache) nextBelow(s stream) (ahead, bool) {
	f, cur := s.file, s.cursor
	if !cur.descends() {
		return ahead{}, false
	}
	bottom := roundDown(f.cursors.bottom(cur), chunkSize)
	lo, hi, ok := f.gapBelow(bottom, cur.below)
	if !ok {
		cur.below = min(cur.below, bottom)
		return ahead{}, false
	}
	cur.below = hi
	return ahead{f, max(lo, roundDown(hi-1, c.partFor(cur))), hi, cur.start - hi}, true
}

// shrink cancels speculation until n blocks will be free: of one file after the
// other, in no order, its latest first.
func (c *Cache) shrink(n int) {
	for _, f := range c.files {
		for i := len(f.flights) - 1; i >= 0 && n > 0; i-- {
			fl := f.flights[i]
			if fl.demand || fl.awaited() || context.Cause(fl.ctx) != nil {
				continue
			}
			n -= len(fl.blocks)
			c.cancel(fl)
		}
	}
}

// cancel ends a flight that nobody waits for: at once if it is still queued,
// otherwise as soon as its transfer notices.
func (c *Cache) cancel(fl *flight) {
	fl.cancel(errUnwanted)
	if i := slices.Index(c.queue, fl); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.active++ // land takes it back
		c.land(fl, errUnwanted)
	}
}

// demandAgain makes flights for waiters whose flight was cancelled.
func (c *Cache) demandAgain(f *file) {
	if c.closed {
		return
	}
	for _, v := range f.waiters {
		if !f.covered(v.off, v.end()) {
			c.demand(v)
		}
	}
}
