package prefetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"

	"weightfs/prefetch/arena"
	"weightfs/remote"
)

// memStore serves objects from memory and records what is asked of it.
type memStore struct {
	mu      sync.Mutex
	objects map[string][]byte
	gets    []span
	bytes   int64
	fail    error                                                  // of the next OpenRange calls
	gate    func(ctx context.Context, key string, off int64) error // before each body; nil: open
	onRead  func(ctx context.Context, key string, off int64) error // before each Read; nil: none
	step    int                                                    // bytes of one Read; 0: 256 KiB
}

type span struct {
	key     string
	off, n  int64
	Version string
}

func newMemStore(tb testing.TB, sizes map[string]int64) *memStore {
	tb.Helper()
	s := &memStore{objects: make(map[string][]byte)}
	for key, size := range sizes {
		s.objects[key] = content(key, size)
	}
	return s
}

// content is deterministic and differs between keys and offsets.
func content(key string, size int64) []byte {
	var seed [32]byte
	copy(seed[:], key)
	p := make([]byte, size)
	rand.NewChaCha8(seed).Read(p)
	return p
}

func (s *memStore) object(key string) remote.Object {
	return remote.Object{Key: key, Size: int64(len(s.objects[key])), Version: "v1"}
}

func (s *memStore) Stat(_ context.Context, key string) (remote.Object, error) {
	if _, ok := s.objects[key]; !ok {
		return remote.Object{}, fs.ErrNotExist
	}
	return s.object(key), nil
}

func (s *memStore) List(context.Context, string) iter.Seq2[remote.Entry, error] {
	return func(yield func(remote.Entry, error) bool) {
		yield(remote.Entry{}, errors.ErrUnsupported)
	}
}

func (s *memStore) Close() error { return nil }

func (s *memStore) OpenRange(ctx context.Context, obj remote.Object, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.gets = append(s.gets, span{key: obj.Key, off: off, n: n})
	fail, gate := s.fail, s.gate
	s.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	if gate != nil {
		if err := gate(ctx, obj.Key, off); err != nil {
			return nil, err
		}
	}
	return &memBody{ctx: ctx, store: s, key: obj.Key, off: off, r: bytes.NewReader(s.objects[obj.Key][off : off+n])}, nil
}

func (s *memStore) fetched() (gets int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gets), s.bytes
}

type memBody struct {
	ctx   context.Context
	store *memStore
	key   string
	off   int64
	r     *bytes.Reader
}

func (b *memBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.store.onRead != nil {
		if err := b.store.onRead(b.ctx, b.key, b.off); err != nil {
			return 0, err
		}
	}
	step := b.store.step
	if step == 0 {
		step = 256 << 10
	}
	n, err := b.r.Read(p[:min(len(p), step)])
	b.off += int64(n)
	b.store.mu.Lock()
	b.store.bytes += int64(n)
	b.store.mu.Unlock()
	return n, err
}

func (b *memBody) Close() error { return nil }

const chunkSize = arena.ChunkSize

func newCache(tb testing.TB, store remote.Store, cfg Config) *Cache {
	tb.Helper()
	c, err := New(store, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// readAt reads and checks one range.
func readAt(ctx context.Context, r *Reader, want []byte, off int64, n int) error {
	v, err := r.View(ctx, off, n)
	if err != nil {
		return err
	}
	defer v.Release()
	want = want[min(off, int64(len(want))):]
	want = want[:min(n, len(want))]
	if v.Len() != len(want) {
		return fmt.Errorf("view of [%d,+%d) has %d bytes, want %d", off, n, v.Len(), len(want))
	}
	for _, p := range v.Slices() {
		if !bytes.Equal(p, want[:len(p)]) {
			return fmt.Errorf("view of [%d,+%d): wrong bytes", off, n)
		}
		want = want[len(p):]
	}
	if len(want) != 0 {
		return fmt.Errorf("view of [%d,+%d): slices are %d bytes short", off, n, len(want))
	}
	return nil
}

// readAll reads an object from front to end in steps of n bytes.
func readAll(ctx context.Context, r *Reader, want []byte, n int) error {
	for off := int64(0); off < int64(len(want)); off += int64(n) {
		if err := readAt(ctx, r, want, off, n); err != nil {
			return err
		}
	}
	return nil
}
