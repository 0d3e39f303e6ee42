package prefetch

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestDefectLeavesNoLock has a read panic under the cache's lock, as fs
// recovers it; the next one must be served.
func TestDefectLeavesNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 1 << 20})
		c := newCache(t, store, Config{Mode: Off})
		r := c.Open(store.Object("a"))
		defer r.Close()
		var broken atomic.Bool
		c.now = func() time.Time {
			if broken.Load() {
				panic("a defect")
			}
			return time.Now()
		}
		broken.Store(true)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _ = r.View(t.Context(), 0, 4096)
		}()
		broken.Store(false)
		for name, mu := range map[string]*sync.Mutex{"cache": &c.mu, "object": &r.object.mu, "scheduler": &c.scheduler.mu} {
			if !mu.TryLock() {
				t.Fatalf("the lock of the %s is still held", name)
			}
			mu.Unlock()
		}
		v, err := r.View(t.Context(), 0, 4096)
		if err != nil {
			t.Fatal(err)
		}
		v.Release()
	})
}
