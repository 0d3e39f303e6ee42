package prefetch

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"weightfs/prefetch/arena"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

// newMemStore makes a store of objects of these sizes.
func newMemStore(tb testing.TB, sizes map[string]int64) *memstore.Store {
	tb.Helper()
	files := make(map[string][]byte)
	for key, size := range sizes {
		files[key] = content(key, size)
	}
	return memstore.New(files)
}

// content is deterministic and differs between keys and offsets.
func content(key string, size int64) []byte {
	var seed [32]byte
	copy(seed[:], key)
	p := make([]byte, size)
	rand.NewChaCha8(seed).Read(p)
	return p
}

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
