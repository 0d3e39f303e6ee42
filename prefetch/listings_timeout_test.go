package prefetch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/tests/memstore"
)

// TestLateCallerIsListedAnew holds that who comes when a listing has long been
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
		synctest.Test(t, func(t *testing.T) {
			store := modelStore()
			store.Hook(memstore.Hooks{List: func(context.Context, string) error {
				store.Hook(memstore.Hooks{}) // the first listing alone fails
				time.Sleep(10 * time.Second)
				return tc.cause
			}})
			l := newTestListings(t, store, ListingsConfig{})
			first := make(chan error)
			go func() {
				_, err := l.List(t.Context(), "")
				first <- err
			}()
			time.Sleep(tc.came)
			if _, err := l.List(t.Context(), ""); (err != nil) != tc.fails {
				t.Errorf("after %v of %v: %v", tc.came, tc.cause, err)
			}
			if err := <-first; !errors.Is(err, tc.cause) {
				t.Errorf("the first: %v", err)
			}
		})
	}
}

// TestNamesWithinReadTimeout lists what was never listed and what has expired,
// at a store that is silent, and again once it answers.
func TestNamesWithinReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := modelStore()
		var silent atomic.Bool
		store.Hook(memstore.Hooks{List: func(ctx context.Context, _ string) error {
			if silent.Load() {
				<-ctx.Done() // nor is it answered later
			}
			return ctx.Err()
		}})
		l := newTestListings(t, store, ListingsConfig{TTL: time.Second, ReadTimeout: 20 * time.Second})
		for _, known := range []bool{false, true} {
			silent.Store(true)
			late := make(chan time.Duration, 1)
			go func() {
				time.Sleep(15 * time.Second)
				began := time.Now()
				_, err := l.List(t.Context(), "")
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("known %v: the second caller: %v", known, err)
				}
				late <- time.Since(began)
			}()
			began := time.Now()
			_, err := l.List(t.Context(), "")
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 20*time.Second {
				t.Errorf("known %v: %v after %v", known, err, took)
			}
			silent.Store(false)
			began = time.Now()
			if _, err := l.List(t.Context(), ""); err != nil || time.Since(began) != 0 {
				t.Errorf("known %v: healed: %v after %v", known, err, time.Since(began))
			}
			if took := <-late; took != 20*time.Second {
				t.Errorf("known %v: the second caller waited %v", known, took)
			}
			time.Sleep(time.Minute) // what was listed expires
		}
		synctest.Wait()
	})
}
