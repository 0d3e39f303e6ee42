package prefetch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/prefetch/latency"
	"weightfs/prefetch/stream"
	"weightfs/remote"
)

// Cache reads a store within a hard byte cap. All methods are safe for
// concurrent use.
type Cache struct {
	store     remote.Store
	cfg       Config
	policy    stream.Policy
	arena     *arena.Arena
	private   error // why the arena is not shared
	scheduler scheduler
	streams   stream.Census
	counts    counters
	meters
	now  func() time.Time
	seed maphash.Seed

	ctx        context.Context // of the fetches; ends at Close
	stop       context.CancelCauseFunc
	goroutines sync.WaitGroup // the flights, the reads that wait, and keepMemory

	mu      sync.Mutex
	objects map[identity]*object // guarded by mu
	closed  bool                 // guarded by mu
}

// counters are the counters of Stats.
type counters struct {
	fetches, failures, fetched, served, hits, misses atomic.Int64
	firstBytes, fetchTimes                           latency.Histogram
}

// meters are of what takes time.
type meters struct {
	waits       meter // of all reads that wait
	memoryWaits meter // of those among them that wait for memory
	gets        meter
	unanswered  meter // GETs without a first byte
}

// identity is the key of the table of objects: key and version.
type identity struct{ key, version string }

// New makes a cache over a store, which stays the caller's.
func New(store remote.Store, cfg Config) (*Cache, error) { return newOn(store, cfg, nodeIsShort) }

// newOn is New on a node that is short of memory when pressed says so.
func newOn(store remote.Store, cfg Config, pressed func() bool) (*Cache, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	memory, private, err := newArena(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cache{
		store:   store,
		cfg:     cfg,
		policy:  stream.Policy{Mode: cfg.Mode, PartSize: cfg.PartSize, Fleet: cfg.Fleet},
		arena:   memory,
		private: private,
		now:     time.Now,
		seed:    maphash.MakeSeed(),
		objects: make(map[identity]*object),
	}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	c.scheduler.begin(c)
	c.goroutines.Add(1)
	go c.keepMemory(pressed)
	return c, nil
}

// errNotAsked says that sharing was not asked for.
var errNotAsked = errors.New("it was not asked for")

// newArena makes the memory, shared if that is asked for and can be had: private
// is why it is not.
func newArena(cfg Config) (memory *arena.Arena, private, err error) {
	if private = errNotAsked; cfg.Share {
		if memory, private = arena.NewShared(cfg.MemoryLimit, cfg.ShareFiles); private == nil {
			return memory, nil, nil
		}
	}
	memory, err = arena.New(cfg.MemoryLimit)
	return memory, private, err
}

// Shared is the cache's memory as other processes may have it, until Close. The
// error says why they cannot.
func (c *Cache) Shared() (arena.Shared, error) {
	shared, ok := c.arena.Shared()
	if !ok && c.private == nil {
		return shared, ErrClosed
	}
	return shared, c.private
}

// Keep has no memory be given back to the node until release is called, as while a
// device of another process reads it.
func (c *Cache) Keep() (release func()) {
	c.arena.Keep()
	return c.arena.Unkeep
}

// Watermark is the end of the memory that was ever used.
func (c *Cache) Watermark() int64 { return c.arena.Watermark() }

// Close ends all fetches and waits, and returns after them. The Readers fail
// from then on.
// Views must have been released: otherwise their memory stays mapped and the
// error says how many there are.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.scheduler.close()
	c.stop(ErrClosed)
	c.goroutines.Wait()
	if err := c.arena.Close(); err != nil {
		return fmt.Errorf("close the cache: %w", err)
	}
	return nil
}

// enter makes the caller one of the cache's goroutines, for which Close waits,
// unless it is closed.
func (c *Cache) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.goroutines.Add(1)
	}
	return !c.closed
}

// acquire returns the entry of an object version, made if need be, which stays
// until the caller lets go of it.
func (c *Cache) acquire(obj remote.Object) *object {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := identity{obj.Key, obj.Version}
	o := c.objects[key]
	if o == nil {
		o = &object{cache: c, obj: obj, streams: stream.NewStreams(&c.streams, c.cfg.Fleet)}
		o.number = c.arena.Add(o, obj.Size, maphash.Comparable(c.seed, key))
		c.objects[key] = o
	}
	o.users.Add(1)
	return o
}

// release lets go of an object.
func (c *Cache) release(o *object) {
	if o.users.Add(-1) == 0 {
		c.forget(o)
	}
}

// forget drops an object that nobody uses and of which nothing is in memory.
func (c *Cache) forget(o *object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := identity{o.obj.Key, o.obj.Version}
	if c.objects[key] == o && o.users.Load() == 0 && c.arena.Remove(o.number) {
		delete(c.objects, key)
	}
}

// forgetEmptied drops the objects whose last block was evicted. No lock is held.
func (c *Cache) forgetEmptied() {
	for _, owner := range c.arena.Emptied() {
		c.forget(owner.(*object))
	}
}

// freed lets speculation go on if memory became free for it. No lock is held.
func (c *Cache) freed() {
	c.forgetEmptied()
	if c.arena.TakeRoom() {
		c.scheduler.run()
	}
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	memory := c.arena.Stats()
	s := Stats{
		Fetches: c.counts.fetches.Load(), Failures: c.counts.failures.Load(), FetchedBytes: c.counts.fetched.Load(),
		ServedBytes: c.counts.served.Load(), Hits: c.counts.hits.Load(), Misses: c.counts.misses.Load(), Evictions: memory.Evictions,
		BlocksTotal: c.arena.Blocks(), BlocksRetained: memory.Retained, BlocksUnread: memory.Unread,
		BlocksInFlight: memory.InFlight, BlocksFree: memory.Free, BlocksResident: memory.Resident, Leases: memory.Leases,
	}
	s.FirstByteTimes, s.FetchTimes = c.counts.firstBytes.Counts(), c.counts.fetchTimes.Counts()
	s.ActiveFetches, s.Concurrency = c.scheduler.active()
	for _, o := range c.known() {
		n, bytes := o.windows()
		s.Files++
		s.Streams += n
		s.WindowBytes += bytes
	}
	return s
}

// known are all objects.
func (c *Cache) known() []*object {
	c.mu.Lock()
	defer c.mu.Unlock()
	objects := make([]*object, 0, len(c.objects))
	for _, o := range c.objects {
		objects = append(objects, o)
	}
	return objects
}
