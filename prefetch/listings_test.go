package prefetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

func fileEntry(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{Key: key, Size: 1, Version: "v1"}}
}

func dirEntry(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{Key: key}, Kind: remote.KindDir}
}

// filesOf makes a store of files of one byte each.
func filesOf(keys ...string) *memstore.Store {
	files := map[string][]byte{}
	for _, key := range keys {
		files[key] = []byte("x")
	}
	return memstore.New(files)
}

// modelStore has a model of three shards in the folder m.
func modelStore() *memstore.Store {
	return filesOf("a", "m/x-00001-of-00003.bin", "m/x-00002-of-00003.bin", "m/x-00003-of-00003.bin", "z")
}

// held holds listings back until the gate is closed.
func held(gate <-chan struct{}) memstore.Hooks {
	return memstore.Hooks{List: func(ctx context.Context, _ string) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

func newTestListings(t *testing.T, store remote.Store, cfg ListingsConfig) *Listings {
	t.Helper()
	l, err := NewListings(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// lookup finds the entry at key by the listing of its parent.
func lookup(ctx context.Context, l *Listings, key string) (remote.Entry, error) {
	dir, name := splitKey(key)
	listing, err := l.Lookup(ctx, dir, name)
	if err != nil {
		return remote.Entry{}, err
	}
	entry, ok := listing.Find(name)
	if !ok {
		return remote.Entry{}, fs.ErrNotExist
	}
	return entry, nil
}

func TestListingAnswersLookups(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{})
	ctx := context.Background()
	for _, key := range []string{"a", "m", "z", "m/x-00002-of-00003.bin"} {
		if entry, err := lookup(ctx, l, key); err != nil || entry.Key != key {
			t.Errorf("look-up of %q = %+v, %v", key, entry, err)
		}
	}
	for _, key := range []string{"A", "b", "zz", "m/x", "m/"} {
		if _, err := lookup(ctx, l, key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("look-up of %q: %v, want fs.ErrNotExist", key, err)
		}
	}
	if store.Listed("") != 1 || store.Listed("m") != 1 {
		t.Errorf("listed the source %d and m %d times, want once each", store.Listed(""), store.Listed("m"))
	}
}

func TestListingExpires(t *testing.T) {
	cases := []struct {
		ttl   time.Duration
		waits []time.Duration
		want  int
	}{
		{ttl: 0, waits: []time.Duration{59 * time.Second}, want: 1},
		{ttl: 0, waits: []time.Duration{61 * time.Second}, want: 2},
		{ttl: MinimalMetadataTTL, waits: []time.Duration{time.Second, time.Second / 2, time.Second}, want: 3},
		{ttl: -1, waits: []time.Duration{24 * time.Hour}, want: 1},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%v after %v", c.ttl, c.waits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := modelStore()
				l := newTestListings(t, store, ListingsConfig{TTL: c.ttl})
				for _, wait := range append([]time.Duration{0}, c.waits...) {
					time.Sleep(wait)
					if _, err := lookup(t.Context(), l, "a"); err != nil {
						t.Fatal(err)
					}
				}
				if got := store.Listed(""); got != c.want {
					t.Errorf("listed %d times, want %d", got, c.want)
				}
			})
		})
	}
}

func TestListingRemaining(t *testing.T) {
	now := time.Now()
	if left, bounded := (&Listing{expires: now.Add(time.Second)}).Remaining(now); left != time.Second || !bounded {
		t.Errorf("got %v, %t", left, bounded)
	}
	if left, bounded := (&Listing{expires: now.Add(-time.Second)}).Remaining(now); left != 0 || !bounded {
		t.Errorf("past its end: got %v, %t", left, bounded)
	}
	if _, bounded := (&Listing{}).Remaining(now); bounded {
		t.Error("a listing for ever has an end")
	}
}

func TestOneFlightPerDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		gate := make(chan struct{})
		store.Hook(held(gate))
		l := newTestListings(t, store, ListingsConfig{})
		impatient, giveUp := context.WithCancel(t.Context())
		errs := make(chan error, 9)
		for i := range 9 {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient
			}
			go func() {
				_, err := l.List(ctx, "m")
				errs <- err
			}()
		}
		synctest.Wait()
		giveUp()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up gets %v, want context.Canceled", err)
		}
		close(gate)
		for range 8 {
			if err := <-errs; err != nil {
				t.Errorf("who waits gets %v", err)
			}
		}
		if got := store.Listed("m"); got != 1 {
			t.Errorf("listed %d times, want 1", got)
		}
	})
}

func TestListingErrorIsNotRemembered(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{})
	broken := errors.New("broken")
	store.Hook(memstore.Hooks{List: func(context.Context, string) error { return broken }})
	if _, err := l.List(context.Background(), "m"); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	store.Hook(memstore.Hooks{})
	if _, err := l.List(context.Background(), "m"); err != nil {
		t.Errorf("after the store recovered: %v", err)
	}
	if _, err := l.List(context.Background(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v, want fs.ErrNotExist", err)
	}
}

func TestInvalidate(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{TTL: -1})
	for want := 1; want <= 3; want++ {
		if _, err := lookup(context.Background(), l, "a"); err != nil {
			t.Fatal(err)
		}
		if got := store.Listed(""); got != want {
			t.Errorf("listed %d times, want %d", got, want)
		}
		l.Invalidate("")
		l.Invalidate("none")
	}
}

// A listing that ristretto refuses, being larger than all it may hold, still
// answers the look-ups that follow it.
func TestHugeListingIsKept(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{MaxEntries: 1})
	for range 5 {
		if _, err := lookup(context.Background(), l, "m/x-00001-of-00003.bin"); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.Listed("m"); got != 1 {
		t.Errorf("listed %d times, want 1", got)
	}
}

func TestListingsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		store.Hook(held(make(chan struct{})))
		l := newTestListings(t, store, ListingsConfig{})
		waiter := make(chan error, 1)
		go func() {
			_, err := l.List(t.Context(), "m")
			waiter <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-waiter; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter gets %v", err)
		}
		if _, err := l.List(t.Context(), "m"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close: %v, want fs.ErrClosed", err)
		}
	})
}

func TestSuccessor(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{})
	first := fileEntry("m/x-00001-of-00003.bin").Object
	if _, ok := l.Successor(first); ok || store.Listed("m") != 0 {
		t.Errorf("without a listing: found %t after %d requests", ok, store.Listed("m"))
	}
	if _, err := l.List(context.Background(), "m"); err != nil {
		t.Fatal(err)
	}
	if next, ok := l.Successor(first); !ok || next.Key != "m/x-00002-of-00003.bin" || next.Version != "v1" {
		t.Errorf("after %s comes %+v, %t", first.Key, next, ok)
	}
	for _, key := range []string{"m/x-00003-of-00003.bin", "a", "m/y-00001-of-00003.bin"} {
		if next, ok := l.Successor(fileEntry(key).Object); ok {
			t.Errorf("after %s comes %+v", key, next)
		}
	}
}

func TestSuccessorOfAnExpiredListing(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{TTL: time.Nanosecond})
	if _, err := l.List(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	first := fileEntry("m/x-00001-of-00003.bin").Object
	if next, ok := l.Successor(first); !ok || next.Key != "m/x-00002-of-00003.bin" {
		t.Errorf("after %s comes %+v, %t", first.Key, next, ok)
	}
	l.Invalidate("m")
	if next, ok := l.Successor(first); ok {
		t.Errorf("of a listing known to be wrong came %+v", next)
	}
}

func TestNegativeEntriesRefused(t *testing.T) {
	if _, err := NewListings(modelStore(), ListingsConfig{MaxEntries: -1}); err == nil {
		t.Error("MaxEntries -1 was accepted")
	}
}
