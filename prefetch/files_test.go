package prefetch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"weightfs/remote"
)

func TestLastCloseEndsFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 256 * mib})
		store.onRead = func(ctx context.Context, _ string, off int64) error {
			if off < 4*mib {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		c := newCache(t, store, Config{})
		r := c.Open(store.object("a"))
		for off := int64(0); off < 4*mib; off += mib {
			if err := readAt(t.Context(), r, store.objects["a"], off, mib); err != nil {
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
			return store.object("2"), obj.Key == "1"
		}})
		r := c.Open(store.object("1"))
		defer r.Close()
		if err := readAll(t.Context(), r, store.objects["1"], mib); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, before := store.fetched()
		if before <= 32*mib {
			t.Error("nothing of the next shard is fetched")
		}
		next := c.Open(store.object("2"))
		defer next.Close()
		hits := c.Stats().Hits
		if err := readAt(t.Context(), next, store.objects["2"], 0, 16<<10); err != nil {
			t.Fatal(err)
		}
		if c.Stats().Hits == hits {
			t.Error("the next shard's beginning had to be waited for")
		}
	})
}
