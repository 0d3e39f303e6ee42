package prefetch

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

func TestFailures(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	at := time.Unix(100, 0)
	early, middle, late := at.Add(-10*time.Second), at.Add(-5*time.Second), at
	var s failures
	s.add(10, 20, first, early, at)
	s.add(15, 30, second, middle, at.Add(failureMemory/2))
	for _, tt := range []struct {
		lo, hi int64
		opened time.Time
		after  time.Duration
		want   error
	}{
		{0, 10, early, 0, nil},
		{0, 11, early, 0, first},
		{0, 11, middle, 0, nil},
		{19, 20, middle, 0, second},
		{19, 20, late, 0, nil},
		{30, 40, early, 0, nil},
		{10, 15, early, failureMemory, nil},
		{10, 16, early, failureMemory, second},
		{10, 40, early, 2 * failureMemory, nil},
	} {
		if got := s.find(tt.lo, tt.hi, tt.opened, at.Add(tt.after)); got != tt.want {
			t.Errorf("[%d,%d) opened at %v, after %v: %v, want %v", tt.lo, tt.hi, tt.opened, tt.after, got, tt.want)
		}
	}
	for i := range int64(2 * maxFailures) {
		s.add(i, i+1, first, early, at)
	}
	if len(s) > maxFailures {
		t.Errorf("%d failures are kept", len(s))
	}
}

// Of many readers that fail together, each is told when the kernel asks again.
func TestFailuresOfManyReaders(t *testing.T) {
	failed := errors.New("failed")
	at := time.Unix(100, 0)
	opened := at.Add(-3 * time.Second)
	const readers, ahead = 64, 8
	var s failures
	for i := range int64(readers * ahead) {
		s.add(i, i+1, failed, opened, at)
	}
	for i := range int64(readers * ahead) {
		if got := s.find(i, i+1, opened.Add(-time.Second), at); got != failed {
			t.Errorf("wait %d: %v", i, got)
		}
	}
}

// TestTimeoutNamesItsCause holds that a wait which is over says what the fetch
// met, that the kernel's questions after it do not wait again, that the fetch
// ends, and that who comes later, or opens the file anew, gets a new one.
func TestTimeoutNamesItsCause(t *testing.T) {
	for name, later := range map[string]func(*Cache, *Reader, remote.Object) *Reader{
		"a moment later": func(_ *Cache, r *Reader, _ remote.Object) *Reader {
			time.Sleep(failureMemory)
			return r
		},
		"opened anew": func(c *Cache, r *Reader, obj remote.Object) *Reader {
			defer r.Close() // later, as the kernel does
			return c.Open(obj)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { timeOutDuringAnOutage(t, later) })
		})
	}
}

// timeOutDuringAnOutage reads from a store that cannot be reached until the read
// time-out, and again after the outage, later.
func timeOutDuringAnOutage(t *testing.T, later func(*Cache, *Reader, remote.Object) *Reader) {
	mem := newMemStore(t, map[string]int64{"a": 8 * mib})
	outage := true
	mem.Hook(memstore.Hooks{Range: func(context.Context, string, int64) error {
		if outage {
			return &net.OpError{Op: "dial", Err: errors.New("flaky")}
		}
		return nil
	}})
	c := newCache(t, remote.WithRetry(mem, remote.RetryPolicy{}), Config{ReadTimeout: 5 * time.Second, Mode: Off})
	r := c.Open(mem.Object("a"))
	_, err := r.View(t.Context(), 0, mib)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "flaky") {
		t.Errorf("the error does not name the cause: %v", err)
	}
	began := time.Now()
	if _, again := r.View(t.Context(), 4096, 4096); again == nil || time.Since(began) != 0 {
		t.Errorf("the page after it: %v after %v", again, time.Since(began))
	}
	synctest.Wait()
	if n := c.Stats().ActiveFetches; n != 0 {
		t.Errorf("%d fetches go on for nobody", n)
	}
	outage = false
	r = later(c, r, mem.Object("a"))
	defer r.Close()
	began = time.Now()
	if err := readAt(t.Context(), r, mem.Data("a"), 0, mib); err != nil || time.Since(began) != 0 {
		t.Errorf("after the outage: %v after %v", err, time.Since(began))
	}
}

// TestHungFetchIsMadeAnew holds that who comes to a fetch that has brought
// nothing for the whole read time-out of another gets a fresh one.
func TestHungFetchIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore(t, map[string]int64{"a": 8 * mib})
		hung := true
		store.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error {
			if hung {
				hung = false
				<-ctx.Done()
			}
			return ctx.Err()
		}})
		c := newCache(t, store, Config{ReadTimeout: time.Minute, Mode: Off})
		first := c.Open(store.Object("a"))
		defer first.Close()
		gaveUp := make(chan error)
		go func() {
			_, err := first.View(t.Context(), 0, mib)
			gaveUp <- err
		}()
		time.Sleep(50 * time.Second)
		second := c.Open(store.Object("a"))
		defer second.Close()
		began := time.Now()
		if err := readAt(t.Context(), second, store.Data("a"), 0, mib); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("the second reader: %v after %v", err, time.Since(began))
		}
		if err := <-gaveUp; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the first reader: %v", err)
		}
	})
}
