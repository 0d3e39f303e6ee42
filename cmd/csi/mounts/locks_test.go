package mounts_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"weightfs/cmd/csi/mounts"
)

func TestLocks(t *testing.T) {
	var locks mounts.Locks
	unlock, ok := locks.TryLock("a")
	if !ok {
		t.Fatal("a free lock is taken")
	}
	if _, ok := locks.TryLock("a"); ok {
		t.Error("a lock was taken twice")
	}
	other, ok := locks.TryLock("b")
	if !ok {
		t.Fatal("another name's lock is taken")
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := locks.Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with an ended context: %v", err)
	}
	inside, most := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			unlock, err := locks.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			inside++ // a race, were there two
			most = max(most, inside)
			inside--
		})
	}
	unlock()
	wg.Wait()
	if most != 1 {
		t.Errorf("%d were inside at once", most)
	}
}
