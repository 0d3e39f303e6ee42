package prefetch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"weightfs/remote"
)

// Cache reads a store within a hard byte cap. All methods are safe for
// concurrent use.
type Cache struct {
	store   remote.Store
	cfg     Config
	policy  windowPolicy
	adviser *adviser
	now     func() time.Time
	seed    maphash.Seed

	ctx        context.Context // of the fetches; ends at Close
	stop       context.CancelCauseFunc
	goroutines sync.WaitGroup // the flights under way, the reads, and keepReady
	calm       chan struct{}  // nothing is fetched any more; has room for one

	mu          sync.Mutex
	arena       *arena // its bookkeeping is guarded by mu; its bytes by claims and leases
	files       map[identity]*file
	retained    blockList // idle and served: what eviction takes first, from the back
	unread      blockList // idle and not yet served, the last to land in front
	starved     []*View   // waiting for memory, in order of arrival
	queue       []*flight // demanded, waiting for the concurrency limit
	hungry      []stream  // whose windows may not be filled
	limit       concurrency
	connections remote.Connections
	active      int    // flights under way
	inflight    int    // blocks with a writer
	leases      int    // leases that readers hold
	clock       uint64 // bytes fetched so far: the cache's sense of time
	streams     streamCount
	closed      bool
	stats       Stats // the counters; Stats fills in the rest

	afterUnlock []func() // calls that must not hold mu
}

// stream is a cursor with its file.
type stream struct {
	file   *file
	cursor *cursor
}

// New makes a cache over a store, which stays the caller's.
func New(store remote.Store, cfg Config) (*Cache, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	arena, err := newArena(cfg.MemoryLimit)
	if err != nil {
		return nil, err
	}
	adviser, err := newAdviser(int64(arena.slots))
	if err != nil {
		return nil, errors.Join(err, arena.close())
	}
	c := &Cache{
		store:   store,
		cfg:     cfg,
		policy:  windowPolicy{mode: cfg.Mode, part: cfg.PartSize},
		adviser: adviser,
		now:     time.Now,
		seed:    maphash.MakeSeed(),
		arena:   arena,
		files:   make(map[identity]*file),
		limit:   newConcurrency(cfg.Concurrency),
		calm:    make(chan struct{}, 1),
	}
	c.ctx, c.stop = context.WithCancelCause(context.Background())
	c.goroutines.Add(1)
	go c.keepReady()
	return c, nil
}

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
	c.stop(ErrClosed)
	c.goroutines.Wait()
	c.adviser.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leases > 0 {
		return fmt.Errorf("close the cache: %d leases were not released", c.leases)
	}
	return c.arena.close()
}

// unlock starts what the change under the lock made possible, releases mu and
// then makes the calls that must not hold it.
func (c *Cache) unlock() {
	for _, call := range c.handOver() {
		call()
	}
}

// handOver is unlock up to the calls. A defect on the way leaves no lock behind:
// it costs its own reader an error, and must not hang all others.
func (c *Cache) handOver() (calls []func()) {
	defer c.mu.Unlock()
	c.pump()
	calls, c.afterUnlock = c.afterUnlock, nil
	return calls
}

// Open returns a reader of one object version. It does no I/O; readers of the
// same version share everything.
func (c *Cache) Open(obj remote.Object) *Reader {
	c.mu.Lock()
	defer c.unlock()
	f := c.fileOf(obj)
	f.handles++
	return &Reader{cache: c, file: f, opened: c.now()}
}

// fileOf is the entry of an object version, made if need be.
func (c *Cache) fileOf(obj remote.Object) *file {
	key := identity{obj.Key, obj.Version}
	f := c.files[key]
	if f == nil {
		f = newFile(obj, c.seed)
		c.files[key] = f
	}
	return f
}

// forgetIfUnused drops a file that nothing refers to any more. A stream that
// wants more does, and a view that waits for memory: what they fetch must be
// found by the next who opens the object.
func (c *Cache) forgetIfUnused(f *file) {
	if f.handles > 0 || len(f.blocks)+len(f.flights)+len(f.waiters) > 0 || f.cursors.hungry() {
		return
	}
	if slices.ContainsFunc(c.starved, func(v *View) bool { return v.file == f }) {
		return
	}
	// A stream of a file that was forgotten may still be on the scheduler's list
	// when the object has a new entry.
	if key := (identity{f.obj.Key, f.obj.Version}); c.files[key] == f {
		delete(c.files, key)
	}
}

// Reader reads one object version. Safe for concurrent use.
type Reader struct {
	cache  *Cache
	file   *file
	opened time.Time
	closed bool // guarded by the cache's lock
}

// usable says why a reader cannot be used. The lock is held.
func (c *Cache) usable(r *Reader) error {
	if c.closed || r.closed {
		return ErrClosed
	}
	return nil
}

// Close ends the reader. The last reader of a version takes with it the
// fetches that nobody waits for; what was fetched stays while there is room.
// Views stay valid until they are released.
func (r *Reader) Close() error {
	c := r.cache
	c.mu.Lock()
	defer c.unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.file.handles--
	if r.file.handles == 0 && !c.closed {
		c.quiet(r.file)
	}
	return nil
}

// quiet ends the speculation for a file that nobody has open.
func (c *Cache) quiet(f *file) {
	f.cursors.calm()
	f.cursors = cursors{}
	f.read, f.announced = 0, false
	for _, fl := range append([]*flight(nil), f.flights...) {
		if !fl.awaited() {
			c.cancel(fl)
		}
	}
	for _, b := range f.blocks {
		if b.list == &c.unread {
			b.unlink()
			c.retained.pushBack(b)
		}
	}
	c.forgetIfUnused(f)
}
