package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/cmd/mountd/monitor"
	"weightfs/remote"
)

// endless is a store whose root takes for ever to list.
type endless struct{ remote.Store }

func (endless) ListPage(ctx context.Context, _, _ string, _ int) (remote.Page, error) {
	<-ctx.Done()
	return remote.Page{}, ctx.Err()
}

// TestFirstLookIsBrief holds that a root which is long to list does not delay the
// start for long, and that a signal still ends it.
func TestFirstLookIsBrief(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mounted{Mount: monitor.Mount{Store: endless{}}}
		began := time.Now()
		if err := m.lookInto(t.Context()); err != nil || time.Since(began) != firstLook {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := m.lookInto(ctx); err == nil {
			t.Error("it goes on after a signal")
		}
	})
}
