// Package memstore is a store in memory for the tests of what stands on a store.
// It counts what is asked of it. Hooks of a test hold its answers back, fail them
// or cut them short; without them it answers at once. What is about S3, HTTP or
// folders is tested before the real thing.
package memstore

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weightfs/remote"
	"weightfs/remote/retry"
)

// readSize is the most bytes of one Read of a body.
const readSize = 256 << 10

// Hooks are called before the store answers, without its lock, from any
// goroutine. Their error is the answer.
type Hooks struct {
	List  func(ctx context.Context, dir string) error
	Range func(ctx context.Context, key string, off int64) error
	// Read is called before each Read of a body. io.EOF ends the body, early
	// if bytes are left.
	Read func(ctx context.Context, key string, off int64) error
}

// Object is what a key has. One with a Target is a link.
type Object struct {
	Data     []byte
	Archived bool
	Target   string
	version  int // counts what was put at the key
}

// Store is a [remote.Backend] of objects that a test replaces.
type Store struct {
	mu      sync.Mutex
	hooks   Hooks             // guarded by mu
	page    int               // guarded by mu; names of a page, 0: all
	objects map[string]Object // guarded by mu
	puts    map[string]int    // guarded by mu; by key
	lists   map[string]int    // guarded by mu; by directory
	gets    int               // guarded by mu
	bytes   int64             // guarded by mu
}

// New makes a store of files.
func New(files map[string][]byte) *Store {
	s := &Store{objects: map[string]Object{}, puts: map[string]int{}, lists: map[string]int{}}
	for key, data := range files {
		s.Put(key, Object{Data: data})
	}
	return s
}

// Put puts an object at key. Its version is v1, that of the next one v2.
func (s *Store) Put(key string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts[key]++
	o.version = s.puts[key]
	s.objects[key] = o
}

// Remove removes the object at key.
func (s *Store) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Hook replaces the hooks.
func (s *Store) Hook(h Hooks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = h
}

// Object describes the object at key, of which Data is the content.
func (s *Store) Object(key string) remote.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return describe(key, s.objects[key])
}

// Data is the content of the object at key.
func (s *Store) Data(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].Data
}

// PageSize has listings come in pages of n names.
func (s *Store) PageSize(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = n
}

// Listed counts the pages of dir that were asked for.
func (s *Store) Listed(dir string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[dir]
}

// Fetched counts the ranges that were asked for, and the bytes that were read.
func (s *Store) Fetched() (gets int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets, s.bytes
}

func describe(key string, o Object) remote.Object {
	return remote.Object{
		Key: key, Size: int64(len(o.Data)), ModTime: time.Unix(1_700_000_000, 0),
		Version: "v" + strconv.Itoa(o.version), Archived: o.Archived,
	}
}

// Stat implements remote.Store.
func (s *Store) Stat(_ context.Context, key string) (remote.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return remote.Object{}, fs.ErrNotExist
	}
	return describe(key, o), nil
}

// ListPage implements remote.Store. A token is the last key of the page before.
func (s *Store) ListPage(ctx context.Context, dir, token string, limit int) (remote.Page, error) {
	s.mu.Lock()
	if limit == 0 {
		s.lists[dir]++
		limit = s.page
	}
	hook := s.hooks.List
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, dir); err != nil {
			return remote.Page{}, err
		}
	}
	entries := s.children(dir)
	page := remote.Page{Exists: len(entries) > 0}
	for _, e := range entries {
		switch {
		case e.Key <= token && token != "":
			continue
		case limit > 0 && len(page.Entries) == limit:
			page.Next = page.Entries[limit-1].Key
			return page, nil
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

// children are the entries of dir, sorted by name.
func (s *Store) children(dir string) []remote.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	dirs := map[string]bool{}
	var entries []remote.Entry
	for key, o := range s.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case !ok || deeper && dirs[name]:
		case deeper:
			dirs[name] = true
			entries = append(entries, remote.Entry{Object: remote.Object{Key: prefix + name}, Kind: remote.KindDir})
		case o.Target != "":
			entries = append(entries, remote.Entry{Object: describe(key, o), Kind: remote.KindLink, Target: o.Target})
		default:
			entries = append(entries, remote.Entry{Object: describe(key, o)})
		}
	}
	slices.SortFunc(entries, func(a, b remote.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

// OpenRange implements remote.Store.
func (s *Store) OpenRange(ctx context.Context, obj remote.Object, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.gets++
	hook := s.hooks.Range
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, obj.Key, off); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[obj.Key]
	if !ok || describe(obj.Key, o).Version != obj.Version {
		return nil, remote.ErrChanged
	}
	return &body{ctx: ctx, store: s, key: obj.Key, off: off, rest: bytes.NewReader(o.Data[off : off+n])}, nil
}

// Classify implements remote.Backend.
func (s *Store) Classify(err error) retry.Failure { return retry.Classify(err) }

// Close implements remote.Store.
func (s *Store) Close() error { return nil }

// body is one range.
type body struct {
	ctx   context.Context
	store *Store
	key   string
	off   int64
	rest  *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	b.store.mu.Lock()
	hook := b.store.hooks.Read
	b.store.mu.Unlock()
	if hook != nil {
		if err := hook(b.ctx, b.key, b.off); err != nil {
			return 0, err
		}
	}
	n, err := b.rest.Read(p[:min(len(p), readSize)])
	b.off += int64(n)
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.bytes += int64(n)
	return n, err
}

func (b *body) Close() error { return nil }
