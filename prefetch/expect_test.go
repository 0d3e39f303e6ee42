package prefetch

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/prefetch/arena"
	"weightfs/tests/memstore"
)

// What a reader expects is fetched and nothing beside it, and its views find it.
func TestExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib})
		c := newCache(t, store, Config{MemoryLimit: 64 * mib})
		r := c.Open(store.Object("a"))
		defer r.Close()
		expected := []Range{{40 * mib, 3 * mib}, {2 * mib, mib}, {63 * mib, 4 * mib}}
		r.Expect(expected...)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := c.Stats().FetchedBytes; got != 5*mib {
			t.Errorf("%d KiB were fetched, want 5 MiB", got>>10)
		}
		for _, w := range expected {
			v, err := r.ViewExpected(t.Context(), w.Offset, int(w.Length))
			if err != nil {
				t.Fatal(err)
			}
			if v.Waited() || !bytes.Equal(bytes.Join(v.Slices(), nil), store.Data("a")[w.Offset:min(w.Offset+w.Length, 64*mib)]) {
				t.Errorf("%+v: waited %v, or wrong bytes", w, v.Waited())
			}
			v.Release()
			r.Unexpect(w)
		}
		if s := c.Stats(); s.Streams != 0 || s.FetchedBytes != 5*mib {
			t.Errorf("%d streams, %d KiB fetched", s.Streams, s.FetchedBytes>>10)
		}
	})
}

// Views that wait for what was announced are served by GETs of whole parts, and not by
// one for each.
func TestExpectedIsFetchedInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib, "other": mib})
		release := make(chan struct{})
		store.Hook(memstore.Hooks{Range: func(_ context.Context, key string, _ int64) error {
			if key == "other" {
				<-release // which keeps the only slot
			}
			return nil
		}})
		c := newCache(t, store, Config{MemoryLimit: 128 * mib, Concurrency: 1})
		var views sync.WaitGroup
		view := func(r *Reader, off, n int64) {
			v, err := r.ViewExpected(t.Context(), off, int(n))
			if err != nil {
				t.Error(err)
				return
			}
			v.Release()
		}
		other, r := c.Open(store.Object("other")), c.Open(store.Object("a"))
		defer other.Close()
		defer r.Close()
		views.Go(func() { view(other, 0, mib) })
		synctest.Wait()
		var expected []Range
		for off := int64(0); off < 64*mib; off += 2 * mib {
			expected = append(expected, Range{off, 2 * mib})
		}
		r.Expect(expected...)
		for _, w := range expected {
			views.Go(func() { view(r, w.Offset, w.Length) })
			synctest.Wait() // in this order
		}
		close(release)
		views.Wait()
		if got := c.Stats().Fetches; got > int64(len(expected)/2+1) { // and the other
			t.Errorf("%d GETs for %d views", got, len(expected))
		}
	})
}

// A view that was not announced is served too, and guesses nothing.
func TestViewExpectedAlone(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 64 * mib})
	c := newCache(t, store, Config{MemoryLimit: 32 * mib})
	r := c.Open(store.Object("a"))
	defer r.Close()
	for off := int64(0); off < 64*mib; off += 4 * mib {
		v, err := r.ViewExpected(t.Context(), off, 4*mib)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.Join(v.Slices(), nil), store.Data("a")[off:off+4*mib]) {
			t.Errorf("wrong bytes at %d", off)
		}
		v.Release()
	}
	if s := c.Stats(); s.FetchedBytes != 64*mib {
		t.Errorf("%d MiB were fetched of 64", s.FetchedBytes>>20)
	}
}

// The pieces of a view are where its bytes lie in the shared file.
func TestPieces(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 8 * mib})
	c := newCache(t, store, Config{MemoryLimit: 32 * mib, Share: true})
	shared, err := c.Shared()
	if err != nil {
		t.Fatal(err)
	}
	r := c.Open(store.Object("a"))
	defer r.Close()
	v, err := r.View(t.Context(), mib/2, 3*mib)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	var seen []byte
	for _, p := range v.AppendPieces([]arena.Piece{}) {
		some := make([]byte, p.Length)
		if _, err := shared.ReadOnly.ReadAt(some, p.Offset); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, some...)
	}
	if !bytes.Equal(seen, store.Data("a")[mib/2:mib/2+3*mib]) {
		t.Error("the file has other bytes there")
	}
}
