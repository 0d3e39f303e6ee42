package prefetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// listingStore is a store of directories: it counts the listings of each, and
// holds them back while gate is not nil and not closed.
type listingStore struct {
	gate chan struct{}

	mu    sync.Mutex
	dirs  map[string][]remote.Entry // guarded by mu
	calls map[string]int            // guarded by mu
	fail  error                     // guarded by mu
}

func newListingStore(dirs map[string][]remote.Entry) *listingStore {
	return &listingStore{dirs: dirs, calls: map[string]int{}}
}

func (s *listingStore) listed(dir string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[dir]
}

func (s *listingStore) set(fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *listingStore) List(ctx context.Context, dir string) iter.Seq2[remote.Entry, error] {
	return func(yield func(remote.Entry, error) bool) {
		s.mu.Lock()
		s.calls[dir]++
		entries, ok := s.dirs[dir]
		err := s.fail
		s.mu.Unlock()
		if s.gate != nil {
			select {
			case <-s.gate:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err == nil && !ok {
			err = fs.ErrNotExist
		}
		for _, entry := range entries {
			if err != nil || !yield(entry, nil) {
				break
			}
		}
		if err != nil {
			yield(remote.Entry{}, err)
		}
	}
}

func (s *listingStore) Stat(context.Context, string) (remote.Object, error) {
	return remote.Object{}, errors.ErrUnsupported
}

func (s *listingStore) OpenRange(context.Context, remote.Object, int64, int64) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

func (s *listingStore) Close() error { return nil }

func fileEntry(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{Key: key, Size: 1, Version: "v1"}}
}

func dirEntry(key string) remote.Entry {
	return remote.Entry{Object: remote.Object{Key: key}, Kind: remote.KindDir}
}

// modelStore has a model of three shards in the folder m.
func modelStore() *listingStore {
	shards := make([]remote.Entry, 3)
	for i := range shards {
		shards[i] = fileEntry(fmt.Sprintf("m/x-%05d-of-00003.bin", i+1))
	}
	return newListingStore(map[string][]remote.Entry{
		"":  {fileEntry("a"), dirEntry("m"), fileEntry("z")},
		"m": shards,
	})
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
	if store.listed("") != 1 || store.listed("m") != 1 {
		t.Errorf("listed the source %d and m %d times, want once each", store.listed(""), store.listed("m"))
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
				if got := store.listed(""); got != c.want {
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
		store.gate = make(chan struct{})
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
		close(store.gate)
		for range 8 {
			if err := <-errs; err != nil {
				t.Errorf("who waits gets %v", err)
			}
		}
		if got := store.listed("m"); got != 1 {
			t.Errorf("listed %d times, want 1", got)
		}
	})
}

func TestListingErrorIsNotRemembered(t *testing.T) {
	store := modelStore()
	l := newTestListings(t, store, ListingsConfig{})
	broken := errors.New("broken")
	store.set(broken)
	if _, err := l.List(context.Background(), "m"); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	store.set(nil)
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
		if got := store.listed(""); got != want {
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
	if got := store.listed("m"); got != 1 {
		t.Errorf("listed %d times, want 1", got)
	}
}

func TestListingsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		store.gate = make(chan struct{})
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
	if _, ok := l.Successor(first); ok || store.listed("m") != 0 {
		t.Errorf("without a listing: found %t after %d requests", ok, store.listed("m"))
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
