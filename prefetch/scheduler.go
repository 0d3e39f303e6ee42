package prefetch

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weightfs/prefetch/stream"
	"weightfs/remote"
)

// scheduler starts GETs, and nobody else does: those that readers wait for in
// their order, then speculation, nearest need first, within one limit. Its lock is
// never held together with another.
type scheduler struct {
	cache *Cache

	known     atomic.Pointer[remote.Connections] // what is known of the connections, for all
	roundTrip atomic.Int64                       // until the first byte, in nanoseconds; 0: unknown

	mu      sync.Mutex
	limit   stream.Concurrency // guarded by mu, as are all below
	lines   remote.Connections
	queue   []*flight // demanded
	ready   []*object // with a stream whose window has room
	flying  []*flight
	asked   int    // slots kept for objects that are asked for a flight
	changes uint64 // calls of run
	closed  bool
}

func (s *scheduler) begin(c *Cache) {
	s.cache = c
	s.limit = stream.NewConcurrency(c.cfg.Concurrency)
	s.known.Store(&remote.Connections{})
}

// close has no flight start any more.
func (s *scheduler) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// connections is what is known of the connections to the store.
func (s *scheduler) connections() remote.Connections { return *s.known.Load() }

// start queues demanded flights.
func (s *scheduler) start(flights []*flight) {
	s.mu.Lock()
	s.queue = append(s.queue, flights...)
	s.mu.Unlock()
	s.run()
}

// withdraw takes a flight out of the queue; false says that it flies.
func (s *scheduler) withdraw(fl *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.queue)
	s.queue = slices.DeleteFunc(s.queue, func(other *flight) bool { return other == fl })
	return len(s.queue) < n
}

// offer takes an object up among those whose streams have room.
func (s *scheduler) offer(o *object) {
	if o.queued.Load() {
		return // as soon as there is a slot, or memory
	}
	s.mu.Lock()
	s.enlist(o)
	s.mu.Unlock()
	s.run()
}

func (s *scheduler) enlist(o *object) {
	if o.queued.CompareAndSwap(false, true) {
		o.users.Add(1)
		s.ready = append(s.ready, o)
	}
}

// run starts as many flights as the limit allows.
func (s *scheduler) run() {
	s.mu.Lock()
	s.changes++
	s.mu.Unlock()
	for s.step() {
	}
}

// step starts one flight, or asks one object for it; false says that there is
// nothing to do.
func (s *scheduler) step() bool {
	o, changes, ok := s.pick()
	if !ok || o == nil {
		return ok
	}
	defer s.cache.release(o)
	fl, short := o.nextFlight()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked--
	if fl != nil && !s.closed {
		s.launch(fl)
	}
	if fl != nil || short {
		s.enlist(o)
	}
	return !short || s.changes != changes
}

// pick starts the first demanded flight, or takes the object out of the list whose
// next part is needed soonest. ok is false if there is none, or no slot for it.
func (s *scheduler) pick() (o *object, changes uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := len(s.flying) + s.asked
	switch {
	case s.closed:
		return nil, 0, false
	case len(s.queue) > 0 && active >= s.limit.Demanded(), len(s.queue) == 0 && len(s.ready) > 0 && active >= s.limit.Speculative():
		s.limit.Saturated()
		return nil, 0, false
	case len(s.queue) > 0:
		fl := s.queue[0]
		s.queue = s.queue[1:]
		s.launch(fl)
		return nil, 0, true
	case len(s.ready) == 0:
		return nil, 0, false
	}
	nearest := 0
	for i, o := range s.ready {
		if o.distance.Load() < s.ready[nearest].distance.Load() {
			nearest = i
		}
	}
	o = s.ready[nearest]
	s.ready = slices.Delete(s.ready, nearest, nearest+1)
	o.queued.Store(false)
	s.asked++
	return o, s.changes, true
}

// launch starts a flight. mu is held.
func (s *scheduler) launch(fl *flight) {
	fl.began = s.cache.now()
	if len(s.flying) == 0 {
		s.limit.Begin(fl.began)
	}
	s.flying = append(s.flying, fl)
	s.cache.counts.fetches.Add(1)
	s.cache.goroutines.Add(1)
	go s.cache.fly(fl)
}

// ended gives a flight's slot back.
func (s *scheduler) ended(fl *flight, err error) {
	now := s.cache.now()
	if err == nil {
		s.cache.counts.fetchTimes.Observe(now.Sub(fl.began))
	}
	s.mu.Lock()
	s.flying = slices.DeleteFunc(s.flying, func(other *flight) bool { return other == fl })
	if err == nil {
		s.lines.Fetched(fl.claim.Hi-fl.claim.Lo, now.Sub(fl.began))
		s.publish()
	}
	s.mu.Unlock()
	s.run()
}

// landed notes bytes of any flight.
func (s *scheduler) landed(n int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rate := s.limit.Landed(n, now); rate > 0 {
		s.lines.Carried(rate)
		s.publish()
	}
}

func (s *scheduler) publish() {
	if lines := s.lines; lines != *s.known.Load() {
		s.known.Store(&lines)
	}
}

// answered notes how long a GET took until its first byte.
func (s *scheduler) answered(took time.Duration) {
	s.cache.counts.firstBytes.Observe(took)
	if before := s.roundTrip.Load(); before != 0 {
		took = (3*time.Duration(before) + took) / 4
	}
	s.roundTrip.Store(int64(took))
}

// minCut is how much sooner at least a jump must be served for a GET of its own,
// which costs both sides up to some milliseconds of a core.
const minCut = 10 * time.Millisecond

// sooner says whether a GET would bring the bytes at off sooner than the flight,
// by a quarter of a round trip.
func (s *scheduler) sooner(fl *flight, off int64) bool {
	now, pos := s.cache.now(), fl.pos.Load()
	roundTrip, rate := time.Duration(s.roundTrip.Load()), s.connections().Best
	wait := time.Duration(0)
	if first := fl.first.Load(); first == 0 {
		wait = roundTrip
	} else if took := now.Sub(time.Unix(0, first)).Seconds(); took > 0 && pos-fl.claim.Lo >= minRateBytes {
		rate = float64(pos-fl.claim.Lo) / took
	}
	if rate == 0 || roundTrip == 0 {
		return false
	}
	wait += time.Duration(float64(off-pos) / rate * float64(time.Second))
	return wait > roundTrip+max(roundTrip/4, minCut)
}

// minRateBytes is how much a flight must have brought for its rate to say
// something.
const minRateBytes = 256 << 10

// yield cancels speculation until so many blocks will be free, the latest first.
func (s *scheduler) yield(blocks int) {
	for _, fl := range s.speculative() {
		if blocks <= 0 {
			return
		}
		blocks -= fl.blocks
		fl.cancel(errUnwanted)
	}
}

// speculative are the flights that nobody waits for or has waited for, the latest
// first.
func (s *scheduler) speculative() (flights []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fl := range slices.Backward(s.flying) {
		if !fl.demand && !fl.awaited() && fl.ctx.Err() == nil {
			flights = append(flights, fl)
		}
	}
	return flights
}

// active is how many GETs are under way, and how many may be.
func (s *scheduler) active() (active, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.flying) + s.asked), int64(s.limit.Speculative())
}
