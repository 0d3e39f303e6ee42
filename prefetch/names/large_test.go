package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// trip is a round trip to the store of these tests.
const trip = 30 * time.Millisecond

// largeStore has n names in the folder d.
func largeStore(n int) *pagedStore {
	store := newStore(map[string]content{"": these(folderAt("d")), "d": many("d", n)})
	store.delay = trip
	return store
}

// TestMillionNames asks for names in a folder that takes half a minute to list, and
// then lists it, with a read time-out of a second.
func TestMillionNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 1_000_000
		store := largeStore(names)
		c := open(t, store, Config{TTL: time.Hour, ReadTimeout: time.Second})
		ask := func(name string, found bool, trips time.Duration) {
			t.Helper()
			began := time.Now()
			answer, err := c.Lookup(t.Context(), "d", name)
			if err != nil || answer.Found != found || found && answer.Entry.Key != "d/"+name {
				t.Errorf("%s: %+v, %v", name, answer, err)
			}
			if took := time.Since(began); took != trips*trip {
				t.Errorf("%s: took %v, want %d round trips", name, took, trips)
			}
		}
		ask("k0999999", true, 2) // nothing is known of the folder
		ask("k0999999", true, 0)
		ask("k0500000", true, 1)
		ask("none", false, 1)
		ask("none", false, 0)
		ask("k0000998", true, 0) // the first page has it
		ask("k0000999", true, 1) // the second may have a directory of that name
		if got := store.count("page d"); got != 1 {
			t.Errorf("%d pages were asked for", got)
		}
		began := time.Now()
		listing, err := c.List(t.Context(), "d")
		if err != nil || listing.Len() != names {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 999*trip || store.count("page d") != 1000 {
			t.Errorf("the listing took %v and %d pages", took, store.count("page d"))
		}
		ask("k0123456", true, 0)
		ask("absent", false, 0)
	})
}

// TestListingIsContinued holds that no page is asked for again, whoever leaves, as
// long as the pages so far are fresh.
func TestListingIsContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pages = 100
		store := largeStore(pages * pageSize)
		c := open(t, store, Config{TTL: time.Minute, ReadTimeout: 5 * time.Second})
		list := func(ctx context.Context, want error, asked int) {
			t.Helper()
			if _, err := c.List(ctx, "d"); !errors.Is(err, want) {
				t.Errorf("List: %v, want %v", err, want)
			}
			time.Sleep(time.Second) // what nobody waits for goes no further
			if got := store.count("page d"); got != asked {
				t.Errorf("%d pages were asked for, want %d", got, asked)
			}
		}
		brief, cancel := context.WithTimeout(t.Context(), 10*trip+trip/2)
		defer cancel()
		list(brief, context.DeadlineExceeded, 11)
		store.onRequest(func(ctx context.Context, what, token string) error {
			if token == "50000" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		began := time.Now()
		list(t.Context(), os.ErrDeadlineExceeded, 51)
		if took := time.Since(began); took != 39*trip+6*time.Second {
			t.Errorf("a caller waited %v for a store that fell silent", took-time.Second)
		}
		store.onRequest(nil)
		list(t.Context(), nil, pages+1) // one was asked for twice
		time.Sleep(2 * time.Minute)
		brief, cancel = context.WithTimeout(t.Context(), 10*trip+trip/2)
		defer cancel()
		list(brief, context.DeadlineExceeded, pages+12)
		time.Sleep(2 * time.Minute) // what was left is out of date
		list(t.Context(), nil, 2*pages+12)
	})
}

// TestRefusedToken holds that pages which cannot be continued are given up.
func TestRefusedToken(t *testing.T) {
	store := largeStore(3 * pageSize)
	store.delay = 0
	c := open(t, store, Config{})
	refused := errors.New("no such token")
	store.onRequest(func(_ context.Context, _, token string) error {
		if token == "2000" {
			return refused
		}
		return nil
	})
	for range 2 {
		if _, err := c.List(t.Context(), "d"); !errors.Is(err, refused) {
			t.Errorf("List: %v", err)
		}
	}
	store.onRequest(nil)
	if listing, err := c.List(t.Context(), "d"); err != nil || listing.Len() != 3*pageSize || store.count("page d") != 3+1+3 {
		t.Errorf("listed anew: %v, after %d pages", err, store.count("page d"))
	}
}

// TestObjectBesideDirectory looks up what is an object on the first page and a
// directory on the second.
func TestObjectBesideDirectory(t *testing.T) {
	var entries []remote.Entry
	for i := range pageSize - 2 {
		entries = append(entries, file(fmt.Sprintf("a%04d", i)))
	}
	entries = append(entries, folderAt("aa"), file("b"), file("b-1"), folderAt("b"), file("c"))
	store := newStore(map[string]content{"": these(entries...), "b": these(file("b/x"))})
	c := open(t, store, Config{})
	check := func(key string, kind remote.Kind) {
		t.Helper()
		if entry, err := lookup(t.Context(), c, key); err != nil || entry.Kind != kind || entry.Key != key {
			t.Errorf("%s is %+v, %v", key, entry, err)
		}
	}
	check("b", remote.KindDir)
	check("b-1", remote.KindFile)
	if store.count("stat b") != 1 || store.count("below b") != 1 {
		t.Error("what the first page cannot tell was not asked for")
	}
	check("a0005", remote.KindFile)
	check("aa", remote.KindDir)
	if store.count("stat a0005")+store.count("stat aa") != 0 {
		t.Error("what the first page tells was asked for")
	}
	listing, err := c.List(t.Context(), "")
	if err != nil || listing.Len() != len(entries)-1 {
		t.Fatalf("listed %d of %d, %v", listing.Len(), len(entries)-1, err)
	}
	check("b", remote.KindDir)
}

// TestNameFails holds that a name is not taken for absent where one of its two
// questions failed.
func TestNameFails(t *testing.T) {
	broken := errors.New("broken")
	for what, wantErr := range map[string]error{"stat d/sub": nil, "below d/sub": broken, "stat d/k0002000": broken} {
		store := largeStore(3 * pageSize)
		store.delay = 0
		store.set("d/sub", these(file("d/sub/x")))
		c := open(t, store, Config{})
		store.onRequest(func(_ context.Context, asked, _ string) error {
			if asked == what {
				return broken
			}
			return nil
		})
		_, key, _ := strings.Cut(what, " ")
		if _, err := lookup(t.Context(), c, key); !errors.Is(err, wantErr) {
			t.Errorf("%s fails: %v, want %v", what, err, wantErr)
		}
		store.onRequest(nil)
		if _, err := lookup(t.Context(), c, key); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

// TestLateCallerIsListedAnew holds that who comes when a question has long been
// failing does not fail with it, unless the directory is not there.
func TestLateCallerIsListedAnew(t *testing.T) {
	for _, tc := range []struct {
		came  time.Duration
		cause error
		fails bool
	}{
		{4 * time.Second, errors.New("down"), true},
		{9 * time.Second, errors.New("down"), false},
		{9 * time.Second, fs.ErrNotExist, true},
	} {
		for what, ask := range map[string]func(context.Context, *Cache) error{
			"a listing": func(ctx context.Context, c *Cache) error { _, err := c.List(ctx, "m"); return err },
			"a look-up": func(ctx context.Context, c *Cache) error {
				_, err := lookup(ctx, c, "m/x-00001-of-00003.bin")
				return err
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				store := modelStore()
				var asked atomic.Int32
				store.onRequest(func(_ context.Context, what, _ string) error {
					if what != "page m" || asked.Add(1) > 1 {
						return nil
					}
					time.Sleep(10 * time.Second)
					return tc.cause
				})
				c := open(t, store, Config{})
				first := make(chan error)
				go func() { first <- ask(t.Context(), c) }()
				time.Sleep(tc.came)
				if err := ask(t.Context(), c); (err != nil) != tc.fails {
					t.Errorf("%s after %v of %v: %v", what, tc.came, tc.cause, err)
				}
				if err := <-first; !errors.Is(err, tc.cause) {
					t.Errorf("the first: %v", err)
				}
			})
		}
	}
}

// TestNamesWithinReadTimeout asks for what was never known and for what has
// expired, at a store that is silent for 20 seconds or for 35: nobody waits for
// longer than the time-out says, or for a request from before the store came back.
func TestNamesWithinReadTimeout(t *testing.T) {
	const wait = 20 * time.Second
	type asker = func(context.Context, *Cache) error
	for what, ask := range map[string]asker{
		"a listing": func(ctx context.Context, c *Cache) error { _, err := c.List(ctx, "d"); return err },
		"a look-up": func(ctx context.Context, c *Cache) error { _, err := lookup(ctx, c, "d/k0002000"); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			store := largeStore(3 * pageSize)
			store.delay = 0
			c := open(t, store, Config{TTL: time.Second, ReadTimeout: wait})
			check := func(who string, want error, after time.Duration) {
				t.Helper()
				began := time.Now()
				if err := ask(t.Context(), c); !errors.Is(err, want) || time.Since(began) != after {
					t.Errorf("%s, %s: %v after %v, want %v after %v", what, who, err, time.Since(began), want, after)
				}
			}
			for _, long := range []bool{false, true, false} {
				store.onRequest(func(ctx context.Context, _, _ string) error {
					<-ctx.Done()
					return ctx.Err()
				})
				var late sync.WaitGroup
				late.Go(func() {
					time.Sleep(wait - time.Second)
					if long {
						time.Sleep(15 * time.Second)
					}
					store.onRequest(nil)
				})
				late.Go(func() {
					time.Sleep(15 * time.Second)
					if long {
						check("the second", os.ErrDeadlineExceeded, wait)
					} else {
						check("the second", nil, 5*time.Second)
					}
				})
				check("the first", os.ErrDeadlineExceeded, wait)
				late.Wait()
				check("who comes later", nil, 0)
				time.Sleep(time.Minute) // what was listed expires
			}
		})
	}
}

// TestHourOfUse lists a folder once a second, with the shortest time to live, and
// asks for names that are not there: what is held does not grow.
func TestHourOfUse(t *testing.T) {
	var entries []remote.Entry
	for i := range 200 {
		entries = append(entries, file(fmt.Sprintf("k%07d", i)))
	}
	synctest.Test(t, func(t *testing.T) {
		const limit = 1000
		store := newStore(map[string]content{"": these(entries...)})
		c := open(t, store, Config{TTL: MinimalTTL, MaxEntries: limit})
		var first int64
		for second := range 3600 {
			if _, err := c.List(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if _, err := lookup(t.Context(), c, fmt.Sprint("none-", second)); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			switch second {
			case 60:
				first = liveHeap()
			case 3599:
				if grown := liveHeap() - first; grown > 1<<20 {
					t.Errorf("%d KiB more are in use than at the beginning", grown>>10)
				}
			}
			if entries, dirs := held(c); entries > limit || dirs != 1 {
				t.Fatalf("%d entries of %d directories are held", entries, dirs)
			}
		}
	})
}

// liveHeap is what is in use of the heap, in bytes.
func liveHeap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestLeastUsedIsDropped lists more than may be remembered: what was not used for
// longest goes, and single names are bounded with it.
func TestLeastUsedIsDropped(t *testing.T) { synctest.Test(t, leastUsedIsDropped) }

func leastUsedIsDropped(t *testing.T) {
	dirs := map[string]content{}
	for i := range 30 {
		dirs[fmt.Sprint(i)] = many(fmt.Sprint(i), 92)
	}
	dirs["d"] = many("d", 2*pageSize)
	store := newStore(dirs)
	c := open(t, store, Config{MaxEntries: 1000})
	list := func(dir string) {
		t.Helper()
		if _, err := c.List(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		list(fmt.Sprint(i))
		list("0")
		if entries, _ := held(c); entries > 1000 {
			t.Fatalf("%d entries", entries)
		}
	}
	for dir, want := range map[string]int{"0": 1, "29": 1, "22": 1, "5": 2} {
		list(dir)
		if got := store.count("page " + dir); got != want {
			t.Errorf("%s was listed %d times, want %d", dir, got, want)
		}
	}
	for i := range 2000 {
		if _, err := c.Lookup(t.Context(), "d", fmt.Sprint("none-", i)); err != nil {
			t.Fatal(err)
		}
		if entries, _ := held(c); entries > pageSize+folderCost+1000 {
			t.Fatalf("%d entries, of which %d are on the first page", entries, pageSize)
		}
	}
	synctest.Wait() // "d/none-0" was listed ahead
	if _, dirs := held(c); dirs != 1 {
		t.Errorf("%d directories are held beside one that is larger than all may be", dirs-1)
	}
}

// held is how many entries and directories are remembered.
func held(c *Cache) (entries, dirs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.folders.entries, len(c.folders.byDir)
}

// TestManyAtOnce has many ask, list, leave and invalidate at once. Every answer is
// the truth.
func TestManyAtOnce(t *testing.T) {
	store := largeStore(3 * pageSize)
	store.delay = 100 * time.Microsecond
	store.set("s", many("s", 50))
	c := open(t, store, Config{TTL: 5 * time.Millisecond, MaxEntries: 2000})
	var group sync.WaitGroup
	for g := range uint64(8) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(g, 3))
			for range 300 {
				dir, n := "d", 3*pageSize
				if rng.IntN(2) == 0 {
					dir, n = "s", 50
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(2000))*time.Microsecond)
				switch i := rng.IntN(2 * n); rng.IntN(8) {
				case 0:
					c.Invalidate(dir)
				case 1, 2:
					listing, err := c.List(ctx, dir)
					if err == nil && (listing.Len() != n || nameOf(listing.Entry(n-1)) != fmt.Sprintf("k%07d", n-1)) {
						t.Errorf("%s has %d entries", dir, listing.Len())
					}
				default:
					answer, err := c.Lookup(ctx, dir, fmt.Sprintf("k%07d", i))
					if err == nil && answer.Found != (i < n) {
						t.Errorf("%d of %d in %s: %+v", i, n, dir, answer)
					}
				}
				cancel()
			}
		})
	}
	group.Wait()
	for _, dir := range []string{"d", "s"} {
		if _, err := c.List(t.Context(), dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
