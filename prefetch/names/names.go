// Package names remembers what a store says of names: the entries of directories,
// and which names are missing.
//
// Terms. A folder is what is known of one directory. Its listing is whole; its draft
// is a listing of which pages are missing. A flight is a question to the store under
// way, which all callers with the same question wait for.
//
// Data flow: a [Cache] answers a look-up or a listing from the folder, or joins a
// flight.
//
//   - The first look-up in a directory asks for the first page of its listing. Most
//     directories have no other, and then every name is known.
//   - In a larger directory, a name that is not on the first page is asked for alone,
//     as an object and as a directory at the same time. So a look-up takes two round
//     trips at most.
//   - A caller that lists a directory waits for all pages. A draft that nobody waits
//     for rests, and the next caller continues it: no page is asked for twice.
//
// Who owns what: a flight belongs to the Cache, a wait to the caller. A caller that
// leaves ends no flight. A new listing replaces the old one in place. Folders are in
// one order of use; the least used are dropped when there are too many entries.
// Answers for single names are ristretto's: it may drop any of them.
//
// What is not here: the bytes of objects (package prefetch), inodes and the kernel's
// own memory of names (package fs), retries (package remote).
package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"weightfs/remote"
)

const (
	// DefaultTTL is how long an answer is remembered when nothing is said: long
	// enough for a model to be loaded with one listing of its folder.
	DefaultTTL = time.Minute
	// MinimalTTL is the shortest useful time: the kernel looks up names that it has
	// just read from a directory, and each look-up would list the directory again.
	MinimalTTL = time.Second

	// defaultMaxEntries bounds what is remembered to about 80 MiB, at the 75 bytes
	// that an entry with a name of 20 and an MD5 as its ETag takes
	// (BenchmarkListing).
	defaultMaxEntries = 1 << 20
	// defaultReadTimeout is that of package prefetch.
	defaultReadTimeout = 5 * time.Minute
	// refreshFraction: a listing in use is refreshed in the last quarter of its time,
	// 15 s of a minute, in which a store lists 100,000 names.
	refreshFraction = 4
)

// Config says how long and how much is remembered. The zero value means the
// defaults.
type Config struct {
	// TTL is how long an answer is remembered: 0 is [DefaultTTL], and less than 0
	// is for ever.
	TTL time.Duration
	// MaxEntries bounds the names remembered over all directories; 0 is 1,048,576.
	// The directory used last is kept whatever its size. Answers for single names
	// are beside them, a sixteenth as many.
	MaxEntries int
	// ReadTimeout is how long a caller waits while nothing comes; 0 is 5 minutes.
	ReadTimeout time.Duration
	// Logger gets debug records; nil discards them.
	Logger *slog.Logger
}

// Cache remembers the names of a store. It is safe for concurrent use.
type Cache struct {
	store  remote.Store
	ttl    time.Duration
	wait   time.Duration // of a caller, while nothing comes
	logger *slog.Logger

	ctx    context.Context // of the flights; ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the flights

	mu      sync.Mutex
	closed  bool    // guarded by mu
	folders folders // guarded by mu, and all that is in it
	singles singles // answers for names that were asked for alone
	ahead   int     // guarded by mu; flights that nobody has asked for
	counts  Stats   // guarded by mu; the counters
}

// New remembers the names of store, which stays the caller's. Close ends it.
func New(store remote.Store, cfg Config) (*Cache, error) {
	if cfg.MaxEntries < 0 {
		return nil, fmt.Errorf("names: at most %d entries: must be above 0", cfg.MaxEntries)
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = defaultMaxEntries
	}
	if cfg.ReadTimeout <= 0 {
		cfg.ReadTimeout = defaultReadTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	singles, err := newSingles(cfg.MaxEntries, cfg.TTL)
	if err != nil {
		return nil, err
	}
	c := &Cache{store: store, ttl: cfg.TTL, wait: cfg.ReadTimeout, logger: cfg.Logger, folders: newFolders(cfg.MaxEntries), singles: singles}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the flights and waits for them. Callers still waiting get an error,
// as do later ones.
func (c *Cache) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	c.cancel()
	c.wg.Wait()
	c.singles.close()
	return nil
}

// Lookup returns what is known of name in the directory dir ("" is the source).
// Errors, which are not remembered: ctx's own, os.ErrDeadlineExceeded with the
// last trouble where nothing came within the read time-out, and the store's;
// fs.ErrNotExist is for dir.
func (c *Cache) Lookup(ctx context.Context, dir, name string) (Answer, error) {
	came := time.Now()
	for alone := false; ; {
		answer, fl, err := c.lookup(dir, name, alone)
		if fl == nil {
			return answer, err
		}
		again, err := c.await(ctx, fl, fl.first, came)
		switch {
		case again:
			continue
		case err != nil:
			return Answer{}, err
		}
		answer, ok, outdated := c.answerOf(fl, name)
		if ok {
			return answer, nil
		}
		alone = !outdated // the first page came, and name is not on it
	}
}

// lookup returns the answer from memory, or the flight to wait for: that of the
// first page, or, with alone or in a large directory, that of name alone.
func (c *Cache) lookup(dir, name string, alone bool) (Answer, *flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return Answer{}, nil, fmt.Errorf("look up %q: %w", joinKey(dir, name), fs.ErrClosed)
	}
	now := time.Now()
	f := c.folders.use(dir)
	answer, ok := f.answer(name, now)
	if !ok {
		answer, ok = c.singles.find(f.era, name)
	}
	if ok {
		c.refresh(f, now, false)
		c.listAhead(dir)
		return answer, nil, nil
	}
	if alone || f.large {
		fl := c.joinName(f, name)
		fl.waiting++
		return Answer{}, fl, nil
	}
	if f.listing == nil && f.draft == nil {
		// The components of a path are looked up one after the other. So name is
		// listed as a directory while dir is listed: the first byte of a file two
		// folders down takes 2.5 round trips in place of 3.5 (make bench, header
		// row). If name is a file, that is one request in vain for each directory.
		c.startAhead(joinKey(dir, name))
	}
	c.listAhead(dir)
	fl := c.joinListing(f)
	fl.waiting++
	return Answer{}, fl, nil
}

// List returns the whole listing of the directory dir. Errors are those of Lookup.
// It waits as long as pages come.
//
// Who lists one subdirectory after the other has the next ones listed ahead.
func (c *Cache) List(ctx context.Context, dir string) (*Listing, error) {
	for came := time.Now(); ; {
		listing, fl, err := c.list(dir)
		if fl == nil {
			return listing, err
		}
		again, err := c.await(ctx, fl, fl.done, came)
		c.mu.Lock()
		fl.readers--
		listing = fl.listing
		c.mu.Unlock()
		if !again {
			return listing, err
		}
	}
}

// list returns the listing from memory, or the flight to wait for, of which the
// caller is counted as a reader.
func (c *Cache) list(dir string) (*Listing, *flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, fmt.Errorf("list %q: %w", dir, fs.ErrClosed)
	}
	now := time.Now()
	f := c.folders.use(dir)
	c.listAhead(dir)
	if f.listing.fresh(now) {
		c.refresh(f, now, true)
		return f.listing, nil, nil
	}
	fl := c.joinListing(f)
	fl.waiting++
	fl.readers++
	return nil, fl, nil
}

// refresh lists f again shortly before its listing, which is in use, expires. A
// look-up does not refresh a listing of many pages: to ask for the name costs less.
// The caller holds mu.
func (c *Cache) refresh(f *folder, now time.Time, whole bool) {
	l := f.listing
	if !l.fresh(now) || l.expires.IsZero() || l.expires.Sub(now) > c.ttl/refreshFraction || l.refreshed || f.large && !whole {
		return
	}
	l.refreshed = true // tried once
	if fl := c.joinListing(f); whole {
		fl.readers++ // to the end
	}
}

// Invalidate forgets what is known of the directory dir, which was found to be out of
// date. Later look-ups do not use the answers to earlier questions either.
func (c *Cache) Invalidate(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.folders.byDir[dir]; ok {
		f.forget()
		c.folders.begin(f)
		c.folders.recount(f)
	}
}

// Successor returns the shard that follows obj by name, -NNNNN-of-NNNNN, where a
// listing has it, be it out of date: the store is asked for that very version, and
// the time-to-live may be over before a large shard is read. It asks the store
// nothing and does not block.
func (c *Cache) Successor(obj remote.Object) (remote.Object, bool) {
	dir, name := splitKey(obj.Key)
	next, ok := nextShard(name)
	if !ok {
		return remote.Object{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.folders.byDir[dir]
	if !ok {
		return remote.Object{}, false
	}
	entry, ok := f.find(next)
	return entry.Object, ok && entry.Kind == remote.KindFile
}

// Answer is what is known of one name.
type Answer struct {
	Entry   remote.Entry
	Found   bool      // there is such a name
	expires time.Time // zero: never
}

// Remaining is how long from now on the answer may be used, at least 0; false says
// for ever.
func (a Answer) Remaining(now time.Time) (time.Duration, bool) {
	if a.expires.IsZero() {
		return 0, false
	}
	return max(a.expires.Sub(now), 0), true
}

// fresh tells whether what expires then may answer at the time now.
func fresh(expires, now time.Time) bool { return expires.IsZero() || now.Before(expires) }

// splitKey cuts a key into its directory ("" is the source) and its name.
func splitKey(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/')
	return key[:max(i, 0)], key[i+1:]
}

func joinKey(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// notExist tells whether there is no such object or directory.
func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
