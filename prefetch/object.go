package prefetch

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/prefetch/stream"
	"weightfs/remote"
)

// object is one object version: its streams, the flights that fetch it, and the
// views that wait for these. Its bytes are the arena's.
type object struct {
	cache  *Cache
	obj    remote.Object
	number arena.Number

	users    atomic.Int32 // readers, views that wait, flights, the scheduler; from 0 only with the cache's mu
	distance atomic.Int64 // how soon the next part is needed
	queued   atomic.Bool  // with the scheduler

	mu       sync.Mutex
	streams  stream.Streams // guarded by mu, as are all below
	exact    stream.Stream  // that of announced reads: it has no window
	flights  []*flight      // queued or under way
	handles  int            // open readers
	opened   uint64         // readers so far
	read     int64          // bytes served for the first time since it was opened
	failures failures       // of the last moment
	next     successor

	needsMu sync.Mutex   // a leaf: eviction holds the arena's lock
	needs   stream.Needs // guarded by needsMu; written with mu held too
}

// after is what a change of an object has others do once its lock is released.
type after struct {
	start  []*flight // to be queued
	cancel []*flight // that nobody wants any more
	ready  bool      // a stream has room for a part
	beyond int64     // bytes of a window that lie past the object's end
}

// settle does it. No lock is held.
func (o *object) settle(do *after) {
	c := o.cache
	for _, fl := range do.cancel {
		if fl.cancel(errUnwanted); c.scheduler.withdraw(fl) {
			c.finish(fl, errUnwanted)
		}
	}
	if len(do.start) > 0 {
		c.scheduler.start(do.start)
	}
	if do.ready {
		c.scheduler.offer(o)
	}
	if do.beyond > 0 {
		c.lookBeyond(o, do.beyond)
	}
	c.freed()
}

// Needs tells eviction whether a live stream will come to off.
func (o *object) Needs(off int64, oldest uint64) bool {
	o.needsMu.Lock()
	defer o.needsMu.Unlock()
	return o.needs.Include(off, oldest)
}

// publish lets eviction see what the streams will come to. mu is held.
func (o *object) publish() {
	o.needsMu.Lock()
	defer o.needsMu.Unlock()
	o.needs = o.streams.Needs(o.needs)
}

// The object answers its streams for what is fetched.

func (o *object) Covered(off, end int64) bool { return o.cache.arena.Covered(o.number, off, end) }

func (o *object) Gap(off, end int64) (lo, hi int64, ok bool) {
	return o.cache.arena.Gap(o.number, off, end)
}

func (o *object) GapBelow(off, end int64) (lo, hi int64, ok bool) {
	return o.cache.arena.GapBelow(o.number, off, end)
}

// partFor is the size of a stream's GETs.
func (o *object) partFor(s *stream.Stream) int64 {
	c := o.cache
	return c.policy.Part(s, c.scheduler.connections(), int(c.streams.Live(c.arena.Clock())))
}

// follow finds the stream that a reader's read belongs to and opens its window;
// jumped says that it was not expected there. mu is held.
func (o *object) follow(r *Reader, v *View, missing bool, do *after) (jumped bool) {
	c := o.cache
	clock := c.arena.Clock()
	m := o.streams.Match(r.number, v.off, v.end(), clock, o)
	v.stream = m.Stream
	share := c.allowance().Share(c.streams.Live(clock))
	o.streams.Open(m.Stream, c.policy.Next(m.Stream, missing, share, c.scheduler.connections()), clock)
	o.publish()
	if m.Left != nil {
		o.leave(m.Left, do)
	}
	if m.Stream.Window == 0 {
		return m.Jumped
	}
	if o.streams.Ask(m.Stream, o.obj.Size, clock, o.partFor(m.Stream), o) {
		do.ready = true
		o.distance.Store(o.streams.Distance())
	}
	beyond := m.Stream.Pos + m.Stream.Window - o.obj.Size
	if c.cfg.Successor != nil && 2*o.read >= o.obj.Size && o.next.wants(beyond) {
		do.beyond = beyond
	}
	return m.Jumped
}

// leave ends the speculation of a stream that its reader left.
func (o *object) leave(s *stream.Stream, do *after) {
	s.Leave()
	for _, fl := range o.flights {
		if s.Covers(fl.claim.Lo) && !fl.demand && !fl.awaited() {
			do.cancel = append(do.cancel, fl)
		}
	}
}

// nextFlight makes the flight that the object's streams need soonest: nil if no
// window has room, or memory is short.
func (o *object) nextFlight() (fl *flight, short bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.cache
	ahead := c.allowance().Ahead()
	if !c.arena.MayClaim(ahead) {
		return nil, true // before all streams are asked
	}
	part, ok := o.streams.Next(o.obj.Size, c.arena.Clock(), o.partFor, o)
	if !ok {
		return nil, false
	}
	claim, ok := c.arena.Claim(o.number, part.Lo, part.Hi, ahead)
	if !ok {
		return nil, true
	}
	o.distance.Store(o.streams.Distance())
	return o.newFlight(claim, false), false
}

// demand makes flights for what the view lacks and nobody fetches yet, and has it
// wait for all that it lacks. mu is held.
func (o *object) demand(v *View, do *after) {
	for {
		lo, hi, ok := o.Gap(v.off, v.end())
		if !ok {
			break
		}
		claim, ok := o.claimDemanded(v.stream, lo, hi)
		if !ok {
			break // the cache is closed, which ends the wait
		}
		do.start = append(do.start, o.newFlight(claim, true))
	}
	o.attach(v)
}

// claimDemanded claims [lo, hi), whose blocks are leased, and as much behind it as
// the stream makes sensible and memory for speculation allows.
func (o *object) claimDemanded(s *stream.Stream, lo, hi int64) (*arena.Claim, bool) {
	c := o.cache
	ahead := c.allowance().Ahead()
	var want int64
	if s == &o.exact {
		want = o.streams.WantedEnd(lo, hi, o.partFor)
	} else {
		want = c.policy.DemandEnd(s, o.partFor(s), lo, hi, o.obj.Size)
	}
	if from, to, ok := o.Gap(hi, want); ok && want > hi && from == hi {
		if claim, ok := c.arena.Claim(o.number, lo, to, ahead); ok {
			return claim, true
		}
		hi = min(to, roundUp(hi, arena.BlockSize)) // the rest of the block is there anyway
	}
	return c.arena.Claim(o.number, lo, hi, ahead)
}

// attach has the view wait for the flights that bring what it lacks; if none does
// its wait is over. mu is held.
func (o *object) attach(v *View) {
	for _, fl := range o.flights {
		if fl.claim.Lo < v.end() && v.off < fl.claim.Hi && fl.addWaiter(v, min(v.end(), fl.claim.Hi)) {
			v.pending++
		}
	}
	if v.pending == 0 {
		v.finish(nil)
	}
}

// detach takes the view out of the flights that it waits for. mu is held.
func (o *object) detach(v *View) {
	for _, fl := range o.flights {
		fl.removeWaiter(v)
	}
	v.pending = 0
}

// cut hands the end of a flight, from a read that jumped there on, to a flight of
// its own, if the bytes are so far behind what landed that a GET brings them
// sooner. mu is held.
func (o *object) cut(v *View, do *after) {
	i := slices.IndexFunc(o.flights, func(fl *flight) bool { return fl.claim.Lo < v.off && v.off < fl.claim.Hi })
	if i < 0 || !o.cache.scheduler.sooner(o.flights[i], v.off) {
		return
	}
	fl := o.flights[i]
	claim, ok := fl.cut(roundDown(v.off, arena.ChunkSize))
	if !ok {
		return
	}
	do.start = append(do.start, o.newFlight(claim, true))
	for _, w := range slices.Clone(fl.waiters) {
		if w.need > claim.Lo {
			o.detach(w.view)
			o.attach(w.view)
		}
	}
}

// landed ends the waits for what a flight has brought.
func (o *object) landed(fl *flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fl.serve()
}

// finish ends a flight: what it did not fetch is nobody's again, and those who
// wait for it learn why, unless they came late. For these, and for those whose
// flight was cancelled, it is made anew.
func (c *Cache) finish(fl *flight, err error) {
	o := fl.object
	var do after
	o.finish(fl, err, &do)
	o.settle(&do)
	c.release(o)
}

func (o *object) finish(fl *flight, err error, do *after) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flights = slices.DeleteFunc(o.flights, func(other *flight) bool { return other == fl })
	o.cache.arena.Abandon(fl.claim, fl.pos.Load())
	fl.serve()
	failed := err != nil && !errors.Is(err, errUnwanted)
	if failed {
		o.cache.counts.failures.Add(1)
		o.streams.CloseWindows()
		o.publish()
	}
	now := o.cache.now()
	late := halfway(fl.began, now)
	for _, w := range fl.waiters {
		v := w.view
		o.detach(v)
		if failed && (!v.began.After(late) || errors.Is(err, remote.ErrChanged)) {
			o.failures.add(v.off, v.end(), err, v.began, now)
			v.finish(err)
		} else {
			o.demand(v, do)
		}
	}
	if cause := fl.trouble.Load(); cause != nil {
		for _, anew := range do.start {
			anew.trouble.CompareAndSwap(nil, cause) // who tires of waiting next is told too
		}
	}
}

// cancelStalled ends flights after a view has waited too long. All that brought
// nothing in the second half of its wait are made anew for who still waits for
// them, and those that it waited for end if nobody else does: the next who asks
// must not get a flight that hangs, or sleeps between two attempts. It returns the
// last trouble of those it waited for. mu is held.
func (o *object) cancelStalled(v *View, do *after) (trouble error) {
	late := halfway(v.began, o.cache.now())
	for _, fl := range o.flights {
		mine := v.off < fl.claim.Hi && v.end() > fl.pos.Load()
		if cause := fl.trouble.Load(); mine && cause != nil {
			trouble = *cause
		}
		if time.Unix(0, fl.heard.Load()).Before(late) || mine && !fl.awaited() {
			do.cancel = append(do.cancel, fl)
		}
	}
	return trouble
}

// quiesce ends the speculation for an object that nobody has open. mu is held.
func (o *object) quiesce(do *after) {
	o.streams.Forget()
	o.publish()
	o.distance.Store(math.MaxInt64)
	o.read, o.next = 0, successor{}
	o.cache.arena.SetOpen(o.number, false)
	for _, fl := range o.flights {
		if !fl.awaited() {
			do.cancel = append(do.cancel, fl)
		}
	}
}

// windows is how many streams were read lately, and the sum of their windows.
func (o *object) windows() (n, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.streams.Windows(o.cache.arena.Clock())
}

// allowance is what speculation may have.
func (c *Cache) allowance() stream.Allowance { return stream.Allowance{Blocks: c.arena.Blocks()} }

func roundDown(n, unit int64) int64 { return n - n%unit }

func roundUp(n, unit int64) int64 { return roundDown(n+unit-1, unit) }
