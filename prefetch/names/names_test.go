package names

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

func TestListingAnswersLookups(t *testing.T) {
	store := modelStore()
	c := open(t, store, Config{})
	for range 2 {
		for _, key := range []string{"a", "m", "z", "m/x-00002-of-00003.bin"} {
			if entry, err := lookup(t.Context(), c, key); err != nil || entry.Key != key {
				t.Errorf("look-up of %q = %+v, %v", key, entry, err)
			}
		}
		for _, key := range []string{"A", "b", "zz", "m/x", "m/"} {
			if _, err := lookup(t.Context(), c, key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("look-up of %q: %v, want fs.ErrNotExist", key, err)
			}
		}
	}
	if root, m := store.count("page "), store.count("page m"); root != 1 || m != 1 {
		t.Errorf("the directories were listed %d and %d times", root, m)
	}
}

func TestListingExpires(t *testing.T) {
	cases := []struct {
		ttl   time.Duration
		waits []time.Duration // before each look-up
		want  int             // listings
	}{
		{ttl: 0, waits: []time.Duration{0, 44 * time.Second, 17 * time.Second}, want: 2},
		{ttl: time.Hour, waits: []time.Duration{0, 44 * time.Minute}, want: 1},
		{ttl: MinimalTTL, waits: []time.Duration{0, time.Second / 2, time.Second / 2}, want: 2},
		{ttl: -1, waits: []time.Duration{0, 1000 * time.Hour}, want: 1},
		{ttl: 1, waits: []time.Duration{0, 0, 0}, want: 1}, // no time passes
	}
	for _, tc := range cases {
		synctest.Test(t, func(t *testing.T) {
			store := modelStore()
			c := open(t, store, Config{TTL: tc.ttl})
			for _, wait := range tc.waits {
				time.Sleep(wait)
				if _, err := lookup(t.Context(), c, "a"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if got := store.count("page "); got != tc.want {
				t.Errorf("%v: listed %d times, want %d", tc.ttl, got, tc.want)
			}
		})
	}
}

func TestRemaining(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		listing *Listing
		left    time.Duration
		bounded bool
	}{
		{&Listing{expires: now.Add(time.Second)}, time.Second, true},
		{&Listing{expires: now.Add(-time.Second)}, 0, true},
		{&Listing{}, 0, false},
	} {
		if left, bounded := tc.listing.Remaining(now); left != tc.left || bounded != tc.bounded {
			t.Errorf("got %v, %t; want %v, %t", left, bounded, tc.left, tc.bounded)
		}
		tc.listing.outdated.Store(true)
		if left, bounded := tc.listing.Remaining(now); left != 0 || !bounded {
			t.Errorf("known to be wrong: %v, %t", left, bounded)
		}
	}
}

// TestInUseIsRefreshed holds that a listing in use answers at once, until its time
// is over and never later: the next one is begun before.
func TestInUseIsRefreshed(t *testing.T) {
	for takes, want := range map[time.Duration]int{ // look-ups that wait, in four minutes
		time.Second:      1,
		25 * time.Second: 4,
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := content{len: 1, at: func(int) remote.Entry { return sized("clock", time.Now().Unix()) }}
			store := newStore(map[string]content{"": clock})
			store.delay = takes
			c := open(t, store, Config{TTL: time.Minute})
			waited := 0
			for start := time.Now(); time.Since(start) < 4*time.Minute; time.Sleep(time.Second) {
				began := time.Now()
				entry, err := lookup(t.Context(), c, "clock")
				if err != nil {
					t.Fatal(err)
				}
				if old := time.Since(time.Unix(entry.Size, 0)); old >= time.Minute {
					t.Errorf("an answer is %v old", old)
				}
				if time.Since(began) > 0 {
					waited++
				}
			}
			if waited != want {
				t.Errorf("with %v a listing %d look-ups waited, want %d", takes, waited, want)
			}
		})
	}
}

func sized(key string, size int64) remote.Entry {
	e := file(key)
	e.Size = size
	return e
}

func TestOneFlightPerDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		store.delay = time.Second
		c := open(t, store, Config{})
		impatient, giveUp := context.WithCancel(t.Context())
		errs := make(chan error, 9)
		for i := range 9 {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient
			}
			go func() {
				_, err := c.List(ctx, "m")
				errs <- err
			}()
		}
		synctest.Wait()
		giveUp()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who gives up gets %v, want context.Canceled", err)
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Errorf("who waits gets %v", err)
			}
		}
		if got := store.count("page m"); got != 1 {
			t.Errorf("listed %d times, want 1", got)
		}
	})
}

func TestErrorIsNotRemembered(t *testing.T) {
	store := modelStore()
	c := open(t, store, Config{})
	broken := errors.New("broken")
	store.onRequest(func(context.Context, string, string) error { return broken })
	if _, err := c.List(t.Context(), "m"); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	store.onRequest(nil)
	if _, err := c.List(t.Context(), "m"); err != nil {
		t.Errorf("after the store recovered: %v", err)
	}
	for range 2 {
		if _, err := c.List(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing directory: %v, want fs.ErrNotExist", err)
		}
	}
	if _, dirs := held(c); dirs != 1 {
		t.Errorf("%d directories are remembered", dirs)
	}
}

func TestInvalidate(t *testing.T) {
	store := modelStore()
	c := open(t, store, Config{TTL: -1})
	for want := 1; want <= 3; want++ {
		if _, err := lookup(t.Context(), c, "a"); err != nil {
			t.Fatal(err)
		}
		if got := store.count("page "); got != want {
			t.Errorf("listed %d times, want %d", got, want)
		}
		c.Invalidate("")
		c.Invalidate("none")
	}
}

// TestInvalidateInFlight replaces all objects while the store is answering: what it
// was asked before is not what a look-up gets, and not what is remembered.
func TestInvalidateInFlight(t *testing.T) {
	for dir, when := range map[string]time.Duration{
		"small": 5 * time.Second,
		"large": 15 * time.Second, // the name is being asked for, and the second page
	} {
		synctest.Test(t, func(t *testing.T) {
			n := map[string]int{"small": 10, "large": 3 * pageSize}[dir]
			old, replaced := many(dir, n), many(dir, n)
			replaced.at = func(i int) remote.Entry { return sized(old.at(i).Key, 2) }
			replaced.find = func(name string) (remote.Entry, bool) { return sized(dir+"/"+name, 2), true }
			store := newStore(map[string]content{dir: old})
			store.delay = 10 * time.Second
			c := open(t, store, Config{TTL: -1})
			check := func(who string) {
				t.Helper()
				if entry, err := lookup(t.Context(), c, old.at(n-1).Key); err != nil || entry.Size != 2 {
					t.Errorf("%s, %s gets %+v, %v", dir, who, entry, err)
				}
			}
			var waiting sync.WaitGroup
			waiting.Go(func() { check("who looked up before") })
			waiting.Go(func() {
				listing, err := c.List(t.Context(), dir)
				if err != nil || listing.Len() != n {
					t.Errorf("%s: %v", dir, err)
				} else if left, bounded := listing.Remaining(time.Now()); left != 0 || !bounded {
					t.Errorf("%s: what was begun before may be used for %v, %t", dir, left, bounded)
				}
			})
			time.Sleep(when)
			store.set(dir, replaced)
			c.Invalidate(dir)
			waiting.Wait()
			check("who comes later")
			time.Sleep(time.Minute)
			check("who comes much later")
			if listing, err := c.List(t.Context(), dir); err != nil || listing.Entry(0).Size != 2 {
				t.Errorf("%s: listed anew: %v", dir, err)
			}
		})
	}
}

// TestHugeListingIsKept holds that a listing larger than all that may be remembered
// still answers the look-ups that follow it.
func TestHugeListingIsKept(t *testing.T) {
	store := modelStore()
	c := open(t, store, Config{MaxEntries: 1})
	for range 5 {
		if _, err := lookup(t.Context(), c, "m/x-00001-of-00003.bin"); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.count("page m"); got != 1 {
		t.Errorf("listed %d times, want 1", got)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		store.onRequest(func(ctx context.Context, _, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		c := open(t, store, Config{})
		waiter := make(chan error, 1)
		go func() {
			_, err := c.List(t.Context(), "m")
			waiter <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-waiter; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiter gets %v", err)
		}
		if _, err := c.List(t.Context(), "m"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close: %v, want fs.ErrClosed", err)
		}
		if _, err := c.Lookup(t.Context(), "m", "x"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after Close: %v, want fs.ErrClosed", err)
		}
	})
}

// TestSuccessor asks for the next shard, also by a listing that is out of date, and
// by one that is known to be wrong.
func TestSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		c := open(t, store, Config{TTL: time.Second})
		first := file("m/x-00001-of-00003.bin").Object
		check := func(when, want string) {
			t.Helper()
			if next, ok := c.Successor(first); ok != (want != "") || next.Key != want || ok && next.Version == "" {
				t.Errorf("%s: after %s comes %+v, %t", when, first.Key, next, ok)
			}
		}
		check("without a listing", "")
		if store.count("page m") != 0 {
			t.Error("the store was asked")
		}
		if _, err := c.List(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		check("listed", "m/x-00002-of-00003.bin")
		for _, key := range []string{"m/x-00003-of-00003.bin", "a", "m/y-00001-of-00003.bin"} {
			if next, ok := c.Successor(file(key).Object); ok {
				t.Errorf("after %s comes %+v", key, next)
			}
		}
		time.Sleep(time.Minute)
		check("expired", "m/x-00002-of-00003.bin")
		c.Invalidate("m")
		check("invalidated", "")
	})
}

func TestNegativeEntriesRefused(t *testing.T) {
	if _, err := New(modelStore(), Config{MaxEntries: -1}); err == nil {
		t.Error("MaxEntries -1 was accepted")
	}
}

// TestPathIsListedAhead holds that the components of a path do not wait for one
// another: four listings take two round trips. What is looked up later in a
// directory that is listed, is not.
func TestPathIsListedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(map[string]content{
			"":      these(folderAt("a"), file("config.json"), folderAt("o")),
			"a":     these(folderAt("a/b"), folderAt("a/o")),
			"a/b":   these(folderAt("a/b/c"), folderAt("a/b/o")),
			"a/b/c": these(file("a/b/c/f"), file("a/b/c/g")),
		})
		store.delay = 50 * time.Millisecond
		c := open(t, store, Config{})
		start := time.Now()
		for _, key := range []string{"a", "a/b", "a/b/c", "a/b/c/f"} {
			if _, err := lookup(t.Context(), c, key); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the listing ahead that came at the same time is held
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the path took %v", took)
		}
		for _, key := range []string{"o", "a/o", "a/b/o", "config.json", "none.json", "a/b/c/g"} {
			if _, err := lookup(t.Context(), c, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // what is listed ahead has come
		for dir, want := range map[string]int{"": 1, "a": 1, "a/b": 1, "a/b/c": 1, "a/b/c/f": 0,
			"o": 0, "a/o": 0, "a/b/o": 0, "config.json": 0, "none.json": 0, "a/b/c/g": 0} {
			if got := store.count("page " + dir); got != want {
				t.Errorf("%q was listed %d times, want %d", dir, got, want)
			}
		}
	})
}
