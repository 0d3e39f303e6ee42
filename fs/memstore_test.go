package fs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"weightfs/remote"
)

// memStore is a store in memory whose objects a test replaces, and whose
// answers it holds back.
type memStore struct {
	mu      sync.Mutex
	objects map[string]memObject // guarded by mu
	version int                  // guarded by mu
	lists   int                  // guarded by mu; listings so far
	fail    error                // guarded by mu; of every OpenRange
	gate    chan struct{}        // guarded by mu; OpenRange waits until it is closed
	waiting chan struct{}        // gets a value, if there is room, when a range waits at the gate
	ended   chan struct{}        // likewise, when a range that waits is not wanted any more
}

type memObject struct {
	data     []byte
	version  string
	archived bool
	target   string // of a link
}

func newMemStore(files map[string][]byte) *memStore {
	s := &memStore{objects: map[string]memObject{}, waiting: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	for key, data := range files {
		s.put(key, data)
	}
	return s
}

func (s *memStore) put(key string, data []byte) {
	s.set(key, memObject{data: data})
}

func (s *memStore) set(key string, o memObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	o.version = fmt.Sprint("v", s.version)
	s.objects[key] = o
}

func (s *memStore) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

func (s *memStore) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// hold keeps every range back until the returned function is called.
func (s *memStore) hold() (letGo func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (s *memStore) listed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

func (s *memStore) object(key string, o memObject) remote.Object {
	return remote.Object{
		Key: key, Size: int64(len(o.data)), ModTime: time.Unix(1_700_000_000, 0),
		Version: o.version, Archived: o.archived,
	}
}

func (s *memStore) Stat(_ context.Context, key string) (remote.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return remote.Object{}, fs.ErrNotExist
	}
	return s.object(key, o), nil
}

func (s *memStore) ListPage(_ context.Context, dir, _ string, _ int) (remote.Page, error) {
	entries := s.children(dir)
	return remote.Page{Entries: entries, Exists: len(entries) > 0}, nil
}

// children are the entries of dir, sorted.
func (s *memStore) children(dir string) []remote.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	byKey := map[string]remote.Entry{}
	for key, o := range s.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case deeper:
			byKey[prefix+name] = remote.Entry{Object: remote.Object{Key: prefix + name}, Kind: remote.KindDir}
		case o.target != "":
			byKey[key] = remote.Entry{Object: s.object(key, o), Kind: remote.KindLink, Target: o.target}
		default:
			byKey[key] = remote.Entry{Object: s.object(key, o)}
		}
	}
	entries := make([]remote.Entry, 0, len(byKey))
	for _, entry := range byKey {
		entries = append(entries, entry)
	}
	slices.SortFunc(entries, func(a, b remote.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

func (s *memStore) OpenRange(ctx context.Context, obj remote.Object, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	gate, fail := s.gate, s.fail
	s.mu.Unlock()
	if gate != nil {
		signal(s.waiting)
		select {
		case <-gate:
		case <-ctx.Done():
			signal(s.ended)
			return nil, ctx.Err()
		}
	}
	if fail != nil {
		return nil, fail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[obj.Key]
	if !ok || o.version != obj.Version {
		return nil, remote.ErrChanged
	}
	return io.NopCloser(bytes.NewReader(o.data[off : off+n])), nil
}

// signal puts a value into a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *memStore) Close() error { return nil }
