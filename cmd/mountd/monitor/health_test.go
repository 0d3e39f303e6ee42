package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// moody is a store whose listings go as it is told.
type moody struct {
	remote.Store
	asked atomic.Int64
	err   error
	hang  bool
}

func (s *moody) ListPage(ctx context.Context, dir, token string, limit int) (remote.Page, error) {
	s.asked.Add(1)
	if dir != "" || token != "" || limit != 1 {
		return remote.Page{}, fmt.Errorf("asked for %q, %q, %d: %w", dir, token, limit, fs.ErrInvalid)
	}
	time.Sleep(time.Second) // of the bubble's clock
	if s.hang {
		<-ctx.Done()
		return remote.Page{}, ctx.Err()
	}
	return remote.Page{}, s.err
}

// TestReadiness holds how often the store is asked, by whom, and what is said.
func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moody{}
		r := newReadiness(t.Context(), store, slog.New(slog.DiscardHandler))
		check := func(want string, asked int64, took time.Duration) {
			t.Helper()
			began := time.Now()
			if got := r.check(t.Context()); got != want || store.asked.Load() != asked || time.Since(began) != took {
				t.Errorf("%q after %v and %d requests, want %q after %v and %d", got, time.Since(began), store.asked.Load(), want, took, asked)
			}
		}
		check("", 1, time.Second)
		time.Sleep(readyTTL - 1)
		check("", 1, 0)
		store.err = fmt.Errorf("LIST s3://bucket/secret: %w", fs.ErrPermission)
		time.Sleep(time.Nanosecond)
		const forbidden = "the store is not ready: forbidden: it refuses the credentials, or a policy forbids to list"
		check(forbidden, 2, time.Second)
		check(forbidden, 2, 0)
		time.Sleep(unreadyTTL)
		store.err = nil
		check("", 3, time.Second)
		time.Sleep(readyTTL)
		store.hang = true
		check("the store is not ready: timeout: it does not answer in time", 4, readyTimeout)
		time.Sleep(unreadyTTL)
		store.hang, store.err = false, errors.New("secret")
		check("the store is not ready: other: the log says more", 5, time.Second)
	})
}

// TestReadinessIsAskedOnce holds that those who come together share one answer,
// and that one of them who leaves takes it from nobody.
func TestReadinessIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &moody{}
		r := newReadiness(t.Context(), store, slog.New(slog.DiscardHandler))
		impatient, leave := context.WithCancel(t.Context())
		causes := make(chan string)
		go func() { causes <- r.check(impatient) }()
		synctest.Wait()
		for range 100 {
			go func() { causes <- r.check(t.Context()) }()
		}
		synctest.Wait()
		leave()
		for range 101 {
			if cause := <-causes; cause != "" {
				t.Error(cause)
			}
		}
		if n := store.asked.Load(); n != 1 {
			t.Errorf("the store was asked %d times", n)
		}
	})
}

// status is the answer to a request of a path.
func status(h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

// TestHealth holds that a mount is well while its store is not, and no longer
// when it is gone.
func TestHealth(t *testing.T) {
	m := mountFor(t)
	h := m.healthHandler()
	if got := status(h, "/healthz"); got != http.StatusOK {
		t.Errorf("mounted: %d", got)
	}
	if err := m.Server.Unmount(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := status(h, "/healthz"); got != http.StatusServiceUnavailable {
		t.Errorf("unmounted: %d", got)
	}
}
