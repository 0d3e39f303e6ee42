package names

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestStats counts a large listing, a missing directory, and a store that fails.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := largeStore(3 * pageSize)
		c := open(t, store, Config{TTL: time.Hour})
		if s := c.Stats(); s != (Stats{}) {
			t.Errorf("at first: %+v", s)
		}
		if _, err := c.List(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		want := Stats{Listings: 1, Pages: 3, Folders: 1, Entries: 3*pageSize + folderCost, LastPage: time.Now()}
		if s := c.Stats(); s != want {
			t.Errorf("after a listing: %+v, want %+v", s, want)
		}
		time.Sleep(time.Minute)
		boom := errors.New("boom")
		store.mu.Lock()
		store.hook = func(context.Context, string, string) error { return boom }
		store.mu.Unlock()
		if _, err := c.List(t.Context(), ""); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		want.Failures = 1
		if s := c.Stats(); s != want {
			t.Errorf("after a failure: %+v, want %+v", s, want)
		}
	})
}
