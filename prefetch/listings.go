package prefetch

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"weightfs/remote"
)

const (
	// DefaultMetadataTTL is how long a listing answers when nothing is said:
	// long enough for a model to be loaded with one listing of its folder.
	DefaultMetadataTTL = time.Minute
	// MinimalMetadataTTL is the shortest useful life of a listing: the kernel
	// looks up what it has just read from a directory, and each look-up of a
	// longer past listing would list the directory again.
	MinimalMetadataTTL = time.Second

	// defaultMaxEntries bounds what is remembered to about 250 MiB, at the 240
	// bytes that an entry with its key and ETag takes.
	defaultMaxEntries = 1 << 20
	// recentListings are kept whatever ristretto says: it may drop or refuse a
	// new listing, and each look-up in that directory would list it again. They
	// are twice what a walk lists ahead.
	recentListings = 2 * maxAhead
)

// ListingsConfig says how long and how much metadata is remembered. The zero
// value means the defaults.
type ListingsConfig struct {
	// TTL is how long a listing answers look-ups after it was fetched: 0 is
	// [DefaultMetadataTTL], and less than 0 is for ever.
	TTL time.Duration
	// MaxEntries bounds the entries remembered over all directories; 0 is
	// 1,048,576. The 64 latest listings are kept beside them.
	MaxEntries int
	// ReadTimeout is how long a caller waits for a listing: 0 is
	// [DefaultReadTimeout].
	ReadTimeout time.Duration
	// Logger gets debug records; nil discards them.
	Logger *slog.Logger
}

// Listings remembers the directories of a store, so that one listing answers
// the look-up, the attributes and the absence of every name in it. It is safe
// for concurrent use.
//
// A directory is fetched once at a time, whoever asks: the fetch belongs to the
// Listings and goes on when a caller gives up waiting.
type Listings struct {
	store  remote.Store
	ttl    time.Duration
	wait   time.Duration // of a caller for a listing
	logger *slog.Logger
	cached *ristretto.Cache[string, *Listing]

	ctx    context.Context // of the fetches; ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the fetches

	mu      sync.Mutex
	closed  bool                     // guarded by mu
	flights map[string]*listFlight   // guarded by mu
	recent  [recentListings]*Listing // guarded by mu; a ring
	next    int                      // guarded by mu; where recent is written next
	walks   map[string]*listedWalk   // guarded by mu; by the directory walked through
	ahead   int                      // guarded by mu; fetches that nobody has asked for yet
}

// NewListings remembers the directories of store, which stays the caller's.
// Close ends it.
func NewListings(store remote.Store, cfg ListingsConfig) (*Listings, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultMetadataTTL
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = defaultMaxEntries
	}
	if cfg.MaxEntries < 0 {
		return nil, fmt.Errorf("listings of at most %d entries: must be above 0", cfg.MaxEntries)
	}
	if cfg.ReadTimeout <= 0 {
		cfg.ReadTimeout = DefaultReadTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cached, err := ristretto.NewCache(&ristretto.Config[string, *Listing]{
		NumCounters:        int64(min(10*cfg.MaxEntries, 1<<18)), // of directories, not of entries
		MaxCost:            int64(cfg.MaxEntries),
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cache of listings: %w", err)
	}
	l := &Listings{
		store:   store,
		ttl:     cfg.TTL,
		wait:    cfg.ReadTimeout,
		logger:  cfg.Logger,
		cached:  cached,
		flights: map[string]*listFlight{},
		walks:   map[string]*listedWalk{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends the fetches under way, waits for them and forgets everything.
// Callers still waiting get an error, as do later ones.
func (l *Listings) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	l.cached.Close()
	return nil
}

// List returns the listing of the directory dir ("" is the source), from memory
// while that is fresh. Errors: ctx's own, os.ErrDeadlineExceeded with the last
// trouble after the read time-out, and the store's, which are not remembered; fs.ErrNotExist for a directory that does not exist.
//
// Who lists one subdirectory after the other has the next ones listed ahead.
func (l *Listings) List(ctx context.Context, dir string) (*Listing, error) {
	held, _ := l.peek(dir)
	return l.orAsk(ctx, dir, held)
}

// orAsk returns the listing of dir that is held, or the one that a fetch brings
// if that is nil.
func (l *Listings) orAsk(ctx context.Context, dir string, held *Listing) (*Listing, error) {
	if held == nil {
		return l.ask(ctx, dir)
	}
	l.listAhead(dir)
	return held, nil
}

// ask returns the listing of dir that a fetch brings.
func (l *Listings) ask(ctx context.Context, dir string) (*Listing, error) {
	deadline := time.NewTimer(l.wait)
	defer deadline.Stop()
	for came := time.Now(); ; {
		flight, err := l.join(dir)
		if err != nil {
			return nil, err
		}
		l.listAhead(dir)
		listing, err := l.await(ctx, dir, flight, deadline.C)
		if err == nil || !flight.failedTooSoonFor(came) {
			return listing, err
		}
	}
}

// Invalidate forgets the listing of dir: it was found to be out of date.
func (l *Listings) Invalidate(dir string) {
	l.mu.Lock()
	for i, listing := range l.recent {
		if listing != nil && listing.dir == dir {
			l.recent[i] = nil
		}
	}
	l.mu.Unlock()
	l.cached.Del(dir)
	l.cached.Wait() // a Set under way is applied, and undone, before the next Get
}

// Successor returns the shard that follows obj by name, -NNNNN-of-NNNNN, where
// a remembered listing has it, be it out of date: the store is asked for that very
// version, and the time-to-live may be over before a large shard is read. It asks
// the store nothing and does not block.
func (l *Listings) Successor(obj remote.Object) (remote.Object, bool) {
	dir, name := splitKey(obj.Key)
	next, ok := nextShard(name)
	if !ok {
		return remote.Object{}, false
	}
	listing, ok := l.peek(dir)
	if !ok {
		listing, ok = l.expired(dir)
	}
	if !ok {
		return remote.Object{}, false
	}
	entry, ok := listing.Find(next)
	return entry.Object, ok && entry.Kind == remote.KindFile
}

// peek returns a fresh listing of dir from memory.
func (l *Listings) peek(dir string) (*Listing, bool) {
	now := time.Now()
	if listing := l.retained(dir, now); listing != nil {
		return listing, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	listing := l.latest(dir, now)
	return listing, listing != nil
}

// retained returns a fresh listing of dir that ristretto has, or nil.
func (l *Listings) retained(dir string, now time.Time) *Listing {
	// It finds by hash; the directory is compared to be sure.
	if listing, ok := l.cached.Get(dir); ok && listing.dir == dir && listing.fresh(now) {
		return listing
	}
	return nil
}

// expired returns a listing of dir among the recent ones, fresh or not.
func (l *Listings) expired(dir string) (*Listing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, listing := range l.recent {
		if listing != nil && listing.dir == dir {
			return listing, true
		}
	}
	return nil, false
}

// latest returns a fresh listing of dir among the recent ones, or nil. The
// caller holds mu.
func (l *Listings) latest(dir string, now time.Time) *Listing {
	for _, listing := range l.recent {
		if listing != nil && listing.dir == dir && listing.fresh(now) {
			return listing
		}
	}
	return nil
}

// fetch lists dir in the store.
func (l *Listings) fetch(dir string, flight *listFlight) (*Listing, error) {
	start := time.Now()
	ctx := remote.WithTrouble(flight.ctx, func(cause error) { flight.trouble.Store(&cause) })
	listing := &Listing{dir: dir}
	for entry, err := range l.store.List(ctx, dir) {
		if err != nil {
			return nil, fmt.Errorf("list %q: %w", dir, err)
		}
		listing.entries = append(listing.entries, entry)
	}
	listing.entries = slices.Clip(listing.entries)
	now := time.Now()
	if l.ttl > 0 {
		listing.expires = now.Add(l.ttl)
	}
	l.logger.Debug("listed", "dir", dir, "entries", len(listing.entries), "seconds", now.Sub(start).Seconds())
	return listing, nil
}

// Listing is one directory as it was at one time. It does not change.
type Listing struct {
	dir     string
	entries []remote.Entry
	expires time.Time   // zero: never
	entered atomic.Bool // a name was looked up
}

// Entries are the children sorted by name as bytes. The slice is shared: it
// must not be changed.
func (l *Listing) Entries() []remote.Entry { return l.entries }

// Find returns the child called name.
func (l *Listing) Find(name string) (remote.Entry, bool) {
	i, ok := l.index(name)
	if !ok {
		return remote.Entry{}, false
	}
	return l.entries[i], true
}

// index is where the child called name is.
func (l *Listing) index(name string) (int, bool) {
	return slices.BinarySearchFunc(l.entries, name, func(e remote.Entry, name string) int {
		return strings.Compare(path.Base(e.Key), name)
	})
}

// Remaining is how long from now on the listing is fresh, at least 0; false
// says for ever.
func (l *Listing) Remaining(now time.Time) (time.Duration, bool) {
	if l.expires.IsZero() {
		return 0, false
	}
	return max(l.expires.Sub(now), 0), true
}

// fresh tells whether the listing may answer at the time now.
func (l *Listing) fresh(now time.Time) bool {
	return l.expires.IsZero() || now.Before(l.expires)
}

// splitKey cuts a key into its directory ("" is the source) and its name.
func splitKey(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/')
	return key[:max(i, 0)], key[i+1:]
}
