package prefetch

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

// A view that gets no memory waits holding none, and gets its turn as soon as
// there is some, in order of arrival.
func TestStarvedViewHoldsNothingAndIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib})
		c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit, Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		var held []*View
		for i := range int64(4) {
			v, err := r.View(t.Context(), i*MaxView, MaxView)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, v)
		}
		served := make(chan int, 2)
		for i := range 2 {
			go func() {
				v, err := r.View(t.Context(), int64(5+i)*MaxView, MaxView)
				if err != nil {
					t.Error(err)
				}
				served <- i
				v.Release()
			}()
			synctest.Wait()
		}
		if s := c.Stats(); s.Leases != 16 || len(served) != 0 {
			t.Fatalf("while starved: %d leases, %d served", s.Leases, len(served))
		}
		held[0].Release()
		synctest.Wait()
		if first, second := <-served, <-served; first != 0 || second != 1 {
			t.Errorf("served %d before %d", first, second)
		}
		for _, v := range held {
			v.Release()
			v.Release()
		}
	})
}

func TestWaitEndsWithItsContextAndTheFetchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error {
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		c := newCache(t, store, Config{Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { failed <- readAt(ctx, r, store.Data("a"), 0, mib) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled wait: %v", err)
		}
		close(open)
		if err := readAt(t.Context(), r, store.Data("a"), 0, mib); err != nil {
			t.Error(err)
		}
		if gets, _ := store.Fetched(); gets != 1 {
			t.Errorf("%d GETs for one range", gets)
		}
	})
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error { <-ctx.Done(); return ctx.Err() }})
		c := newCache(t, store, Config{ReadTimeout: time.Minute})
		r := c.Open(store.Object("a"))
		defer r.Close()
		began := time.Now()
		_, err := r.View(t.Context(), 0, mib)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestFailureReachesEveryWaiterAndIsSoonForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		open := make(chan error)
		store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error { return <-open }})
		c := newCache(t, store, Config{Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		failed := make(chan error, 3)
		for range 3 {
			go func() { failed <- readAt(t.Context(), r, store.Data("a"), 0, mib) }()
		}
		synctest.Wait()
		open <- remote.ErrChanged
		for range 3 {
			if err := <-failed; !errors.Is(err, remote.ErrChanged) {
				t.Errorf("waiter got %v", err)
			}
		}
		if gets, _ := store.Fetched(); gets != 1 {
			t.Errorf("%d GETs failed, want 1", gets)
		}
		time.Sleep(failureMemory)
		go func() { failed <- readAt(t.Context(), r, store.Data("a"), 0, mib) }()
		open <- nil
		if err := <-failed; err != nil {
			t.Errorf("after the failure: %v", err)
		}
	})
}

// A fetch that has long been failing ends with an error for those who were there,
// and is made anew for who came a moment ago: the store may be back.
func TestLatecomerGetsAFetchOfItsOwn(t *testing.T) {
	for _, tc := range []struct {
		came  time.Duration // after the first
		cause error
		fails bool
	}{
		{4 * time.Second, errors.New("down"), true},
		{9 * time.Second, errors.New("down"), false},
		{9 * time.Second, remote.ErrChanged, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newMemStore(t, map[string]int64{"a": 8 * mib})
			down := true
			store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error {
				if !down {
					return nil
				}
				time.Sleep(10 * time.Second)
				down = false
				return tc.cause
			}})
			c := newCache(t, store, Config{Mode: Off})
			r := c.Open(store.Object("a"))
			defer r.Close()
			first := make(chan error)
			go func() { first <- readAt(t.Context(), r, store.Data("a"), 0, mib) }()
			time.Sleep(tc.came)
			err := readAt(t.Context(), r, store.Data("a"), 0, mib)
			if (err != nil) != tc.fails {
				t.Errorf("after %v of %v: %v", tc.came, tc.cause, err)
			}
			if err := <-first; !errors.Is(err, tc.cause) {
				t.Errorf("the first: %v", err)
			}
		})
	}
}

// What is there is read, whatever was waited for beside it.
func TestSetbackHidesNothingThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		c := newCache(t, store, Config{Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		if err := readAt(t.Context(), r, store.Data("a"), 0, chunkSize); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		store.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error {
			time.Sleep(time.Second)
			return errors.New("down")
		}})
		if err := readAt(t.Context(), r, store.Data("a"), 0, 4*chunkSize); err == nil {
			t.Fatal("read what could not be fetched")
		}
		if err := readAt(t.Context(), r, store.Data("a"), 0, 4096); err != nil {
			t.Errorf("what is there: %v", err)
		}
		began := time.Now()
		if err := readAt(t.Context(), r, store.Data("a"), chunkSize, 4096); err == nil || time.Since(began) != 0 {
			t.Errorf("what is not there: %v after %v", err, time.Since(began))
		}
	})
}

// Bytes that came are not given up because the time-out came too.
func TestBytesBeatTheTimeout(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 32 * mib})
	c := newCache(t, store, Config{Mode: Off, ReadTimeout: time.Nanosecond})
	r := c.Open(store.Object("a"))
	defer r.Close()
	for i := range int64(32) { // select takes either of what is ready
		v := &View{object: r.object, off: i * mib, n: mib}
		var do after
		if hit, err := v.object.begin(r, v, &do); hit || err != nil {
			t.Fatal(hit, err)
		}
		v.object.settle(&do)
		<-v.ready
		if err := v.object.await(t.Context(), v, &after{}); err != nil {
			t.Error(err)
		}
		v.Release()
	}
}

// Who gives up does not keep those behind it from the memory that is there.
func TestWhoGivesUpLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib})
		c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit, Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		for i := range int64(14) { // two blocks are left
			v, err := r.View(t.Context(), i*mib, mib)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Release()
		}
		ctx, giveUp := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- readAt(ctx, r, store.Data("a"), 20*mib, MaxView) }()
		synctest.Wait()
		go func() { second <- readAt(t.Context(), r, store.Data("a"), 30*mib, mib) }()
		synctest.Wait()
		giveUp()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: %v", err)
		}
		synctest.Wait()
		select {
		case err := <-second:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("who came next still waits")
		}
	})
}

// What a reader that waits holds is no lease that was forgotten.
func TestCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib})
		store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error { <-ctx.Done(); return ctx.Err() }})
		c, err := New(store, Config{Mode: Off, Concurrency: 2}) // the other fetches wait for their turn
		if err != nil {
			t.Fatal(err)
		}
		r := c.Open(store.Object("a"))
		failed := make(chan error, 1)
		const n = 8
		for i := range int64(n) {
			go func() { failed <- readAt(context.Background(), r, store.Data("a"), i*mib, mib) }()
		}
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for range n {
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Errorf("wait at the end: %v", err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A wait that times out ends silent flights, which are made anew for who still
// waits. They too are told of the trouble that there was.
func TestTroubleOutlivesAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error { <-ctx.Done(); return ctx.Err() }})
		c := newCache(t, remote.WithRetry(store, remote.RetryPolicy{}), Config{Mode: Off, ReadTimeout: 8 * time.Second})
		r := c.Open(store.Object("a"))
		defer r.Close()
		failed := make(chan error)
		for range 2 {
			go func() { failed <- readAt(t.Context(), r, store.Data("a"), 0, mib) }()
			time.Sleep(time.Second)
		}
		for range 2 {
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "no byte in time") {
				t.Errorf("a waiter is told %v", err)
			}
		}
	})
}
