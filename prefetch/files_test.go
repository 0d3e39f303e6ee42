package prefetch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

// An entry that was forgotten does not take its successor with it.
func TestOldEntryForgetsNotTheNewOne(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": mib})
	c := newCache(t, store, Config{})
	old := c.acquire(store.Object("a"))
	c.release(old)
	r := c.Open(store.Object("a"))
	defer r.Close()
	c.forget(old)
	if got := c.acquire(store.Object("a")); got != r.object {
		t.Error("the open file is not found any more")
	} else {
		c.release(got)
	}
}

func TestLastCloseEndsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 256 * mib})
		store.Hook(memstore.Hooks{Read: func(ctx context.Context, _ string, off int64) error {
			if off < 4*mib {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}})
		c := newCache(t, store, Config{})
		r := c.Open(store.Object("a"))
		for off := int64(0); off < 4*mib; off += mib {
			if err := readAt(t.Context(), r, store.Data("a"), off, mib); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if s := c.Stats(); s.ActiveFetches == 0 {
			t.Error("nothing is fetched ahead")
		}
		r.Close()
		synctest.Wait()
		if s := c.Stats(); s.ActiveFetches != 0 || s.BlocksInFlight != 0 {
			t.Errorf("after the last close: %+v", s)
		}
		if _, err := r.View(t.Context(), 0, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("closed reader: %v", err)
		}
	})
}

func TestNextShardIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"1": 32 * mib, "2": 32 * mib})
		c := newCache(t, store, Config{Successor: func(obj remote.Object) (remote.Object, bool) {
			return store.Object("2"), obj.Key == "1"
		}})
		r := c.Open(store.Object("1"))
		defer r.Close()
		if err := readAll(t.Context(), r, store.Data("1"), mib); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, before := store.Fetched()
		if before <= 32*mib {
			t.Error("nothing of the next shard is fetched")
		}
		next := c.Open(store.Object("2"))
		defer next.Close()
		hits := c.Stats().Hits
		if err := readAt(t.Context(), next, store.Data("2"), 0, 16<<10); err != nil {
			t.Fatal(err)
		}
		if c.Stats().Hits == hits {
			t.Error("the next shard's beginning had to be waited for")
		}
	})
}

// An object that a waiting reader still refers to is the same for who opens it
// next, though the reader was closed.
func TestStarvedViewKeepsItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 64 * mib, "b": mib})
		c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit, Mode: Off})
		a := c.Open(store.Object("a"))
		defer a.Close()
		var held []*View
		for i := range int64(4) {
			v, err := a.View(t.Context(), i*MaxView, MaxView)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, v)
		}
		gets, _ := store.Fetched()
		read := make(chan error, 2)
		for range 2 {
			b := c.Open(store.Object("b"))
			go func() { read <- readAt(t.Context(), b, store.Data("b"), 0, mib) }()
			synctest.Wait()
			b.Close()
		}
		for _, v := range held {
			v.Release()
		}
		for range 2 {
			if err := <-read; err != nil {
				t.Error(err)
			}
		}
		if after, _ := store.Fetched(); after != gets+1 {
			t.Errorf("%d GETs for one object of 1 MiB", after-gets)
		}
	})
}

// An object whose stream waits for memory, such as the next shard, is kept: what
// it fetches is found by who opens it.
func TestReadyStreamKeepsItsObject(t *testing.T) {
	store := newMemStore(t, map[string]int64{"a": 64 * mib})
	c := newCache(t, store, Config{MemoryLimit: MinMemoryLimit})
	o := c.acquire(store.Object("a"))
	o.streams.First(8*mib, 0).Ready = true
	c.scheduler.mu.Lock()
	c.scheduler.enlist(o)
	c.scheduler.mu.Unlock()
	c.release(o)
	r := c.Open(store.Object("a"))
	defer r.Close()
	if r.object != o {
		t.Error("what the stream fetches is lost to who opens the object")
	}
}

// A next shard that cannot be fetched and that nobody opens is forgotten.
func TestUnreachableNextShardIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"1": 32 * mib, "2": 32 * mib})
		store.Hook(memstore.Hooks{Range: func(_ context.Context, key string, _ int64) error {
			if key == "2" {
				return errors.New("out of reach")
			}
			return nil
		}})
		c := newCache(t, store, Config{Successor: func(obj remote.Object) (remote.Object, bool) {
			return store.Object("2"), obj.Key == "1"
		}})
		r := c.Open(store.Object("1"))
		if err := readAll(t.Context(), r, store.Data("1"), mib); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.Close()
		if s := c.Stats(); s.Failures == 0 || s.Files != 1 {
			t.Errorf("%d failures, %d files known, want the one that was read", s.Failures, s.Files)
		}
	})
}

// A header that was read is no reason to fetch less ahead for others.
func TestHeadersLeaveRoomAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files = 40
		sizes := make(map[string]int64)
		for i := range files {
			sizes[fmt.Sprint(i)] = 4 * mib
		}
		store := newMemStore(t, sizes)
		c := newCache(t, store, Config{MemoryLimit: 64 * mib})
		for i := range files {
			r := c.Open(store.Object(fmt.Sprint(i)))
			defer r.Close()
			if err := readAt(t.Context(), r, store.Data(fmt.Sprint(i)), 0, 8); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if s := c.Stats(); s.BlocksUnread > 0 || s.BlocksRetained != files {
			t.Errorf("%d blocks count as fetched ahead, %d as served, of %d", s.BlocksUnread, s.BlocksRetained, files)
		}
	})
}
