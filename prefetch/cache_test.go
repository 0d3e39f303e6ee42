package prefetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weightfs/tests/memstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const mib = 1 << 20

func TestSequentialReadIsWholeAndFetchedOnce(t *testing.T) {
	for _, size := range []int64{0, 1, chunkSize, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 5, 40*mib + 17} {
		for _, step := range []int{4096, 128 << 10, mib, 3*mib + 1} {
			t.Run(fmt.Sprintf("%d by %d", size, step), func(t *testing.T) {
				if size > 10*mib && step < mib {
					step *= 8
				}
				store := newMemStore(t, map[string]int64{"a": size})
				c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit})
				r := c.Open(store.Object("a"))
				defer r.Close()
				if err := readAll(t.Context(), r, store.Data("a"), step); err != nil {
					t.Fatal(err)
				}
				if _, fetched := store.Fetched(); fetched > size {
					t.Errorf("fetched %d bytes of %d", fetched, size)
				}
			})
		}
	}
}

func TestViewBeyondTheEndIsEmpty(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 10})
	c := newCache(t, store, Config{})
	r := c.Open(store.Object("a"))
	defer r.Close()
	for _, off := range []int64{10, 11, 1 << 40} {
		v, err := r.View(t.Context(), off, 5)
		if err != nil || v.Len() != 0 || len(v.Slices()) != 0 {
			t.Errorf("View(%d) = %v, %v", off, v, err)
		}
		v.Release()
	}
	if _, err := r.View(t.Context(), -1, 5); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("negative offset: %v", err)
	}
	if _, err := r.View(t.Context(), 0, MaxView+1); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("too long: %v", err)
	}
}

// Many readers with little memory: every byte right, nobody stuck, no lease
// left, and the arena accounted for to the last block.
func TestManyReadersWithLittleMemory(t *testing.T) {
	sizes := map[string]int64{"a": 24 * mib, "b": 9*mib + 3, "c": 5, "d": 40*mib - 1}
	for _, mode := range []Mode{Auto, Sequential, Off} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemStore(t, sizes)
				c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit, Mode: mode, Concurrency: 4})
				var wg sync.WaitGroup
				for i := range 24 {
					key := string(rune('a' + i%4))
					wg.Go(func() {
						r := c.Open(store.Object(key))
						defer r.Close()
						readSomehow(t, r, store.Data(key), i)
					})
				}
				wg.Wait()
				atRest(t, c)
			})
		})
	}
}

// readSomehow is reader i: the first twelve read all of it, the others here and
// there.
func readSomehow(t *testing.T, r *Reader, want []byte, i int) {
	random := rand.New(rand.NewPCG(uint64(i), 7))
	if i < 12 {
		if err := readAll(t.Context(), r, want, 1+random.IntN(MaxView)); err != nil {
			t.Error(err)
		}
		return
	}
	for range 60 {
		if err := readAt(t.Context(), r, want, random.Int64N(int64(len(want))), random.IntN(2*mib)); err != nil {
			t.Error(err)
			return
		}
	}
}

// atRest waits until no fetch is under way, in virtual time, and checks the books.
func atRest(t *testing.T, c *Cache) {
	t.Helper()
	for c.Stats().ActiveFetches > 0 {
		time.Sleep(time.Millisecond)
	}
	s := c.Stats()
	if s.Leases != 0 || s.BlocksInFlight != 0 {
		t.Errorf("at rest: %d leases, %d blocks in flight", s.Leases, s.BlocksInFlight)
	}
	if s.BlocksFree+s.BlocksRetained+s.BlocksUnread != s.BlocksTotal {
		t.Errorf("at rest: %d free + %d retained + %d unread of %d blocks", s.BlocksFree, s.BlocksRetained, s.BlocksUnread, s.BlocksTotal)
	}
	if s.BlocksTotal*blockSize > c.cfg.MemoryLimit {
		t.Errorf("%d blocks in %d bytes", s.BlocksTotal, c.cfg.MemoryLimit)
	}
}

func TestTwoReadersCauseOneFetch(t *testing.T) {
	const size = 64 * mib
	store := newMemStore(t, map[string]int64{"a": size})
	c := newCache(t, store, Config{MemoryLimit: 32 * mib})
	var wg sync.WaitGroup
	turn := make(chan struct{}) // the readers go in step
	for range 2 {
		wg.Go(func() {
			r := c.Open(store.Object("a"))
			defer r.Close()
			for off := int64(0); off < size; off += mib {
				if err := readAt(t.Context(), r, store.Data("a"), off, mib); err != nil {
					t.Error(err)
				}
				select {
				case turn <- struct{}{}:
				case <-turn:
				}
			}
		})
	}
	wg.Wait()
	if _, fetched := store.Fetched(); fetched > size*102/100 {
		t.Errorf("fetched %d bytes of %d", fetched, size)
	}
}

func TestLeasedMemoryIsNotReused(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 64 * mib})
	c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit})
	r := c.Open(store.Object("a"))
	defer r.Close()
	held, err := r.View(t.Context(), 5*mib+17, mib)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if err := readAll(t.Context(), r, store.Data("a"), mib); err != nil {
		t.Fatal(err)
	}
	off := 5*mib + 17
	for _, p := range held.Slices() {
		if string(p) != string(store.Data("a")[off:off+len(p)]) {
			t.Fatal("leased bytes changed")
		}
		off += len(p)
	}
}

func TestBytesAreServedBeforeThePartIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		store.Hook(memstore.Hooks{Read: func(ctx context.Context, _ string, off int64) error {
			if off >= 512<<10 {
				<-release
			}
			return nil
		}})
		c := newCache(t, store, Config{})
		r := c.Open(store.Object("a"))
		defer r.Close()
		if err := readAt(t.Context(), r, store.Data("a"), 0, 300<<10); err != nil {
			t.Error(err)
		}
		close(release)
	})
}

// After model A was read three times and model B twice, B is retained.
func TestSecondModelIsRetained(t *testing.T) {
	store := newMemStore(t, map[string]int64{"A": 48 * mib, "B": 48 * mib})
	c := newCache(t, store, Config{MemoryLimit: 64 * mib})
	for _, key := range []string{"A", "A", "A", "B", "B"} {
		r := c.Open(store.Object(key))
		if err := readAll(t.Context(), r, store.Data(key), mib); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	_, before := store.Fetched()
	r := c.Open(store.Object("B"))
	defer r.Close()
	if err := readAll(t.Context(), r, store.Data("B"), mib); err != nil {
		t.Fatal(err)
	}
	if _, after := store.Fetched(); after != before {
		t.Errorf("B was fetched again: %d bytes", after-before)
	}
}

func TestSmallRandomReadsFetchLittle(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 256 * mib})
	c := newCache(t, store, Config{MemoryLimit: 64 * mib})
	r := c.Open(store.Object("a"))
	defer r.Close()
	random := rand.New(rand.NewPCG(1, 2))
	const n = 200
	for range n {
		if err := readAt(t.Context(), r, store.Data("a"), mib+random.Int64N(254*mib), 128<<10); err != nil {
			t.Fatal(err)
		}
	}
	if _, fetched := store.Fetched(); fetched > 4*n*(128<<10) {
		t.Errorf("fetched %d bytes for %d asked", fetched, n*(128<<10))
	}
}

// The error of a limit that is too small names the smallest that works.
func TestSmallestMemoryLimit(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 3 * MinMemoryLimit})
	var tooSmall, least int64
	_, err := New(store, Config{MemoryLimit: MinMemoryLimit - 1})
	if n, _ := fmt.Sscanf(fmt.Sprint(err), "memory limit of %d bytes is too small: at least %d", &tooSmall, &least); n != 2 || tooSmall != least-1 {
		t.Fatalf("one byte less: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newCache(t, store, Config{MemoryLimit: least}).Open(store.Object("a"))
		defer r.Close()
		if err := readAll(t.Context(), r, store.Data("a"), MaxView); err != nil {
			t.Error(err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{MemoryLimit: 1}, {MemoryLimit: -1}, {PartSize: -1}, {Concurrency: -1}, {Concurrency: 257}, {Mode: 9}, {ReadTimeout: -1},
	} {
		if _, err := New(memstore.New(nil), cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
