package retry

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRevival(t *testing.T) {
	var r revival
	at := time.Unix(100, 0)
	r.answered(at) // nobody waits
	first := r.end()
	r.answered(at.Add(silence / 2)) // no silence before it
	select {
	case <-first:
		t.Error("an answer among others woke a sleeper")
	default:
	}
	r.answered(at.Add(2 * silence))
	select {
	case <-first:
	default:
		t.Error("the first answer after a silence woke nobody")
	}
	if r.end() == first {
		t.Error("the next sleeper would not sleep")
	}
}

// unreachable is a store that cannot be reached before a time.
type unreachable struct {
	until    time.Time
	attempts int
	mu       sync.Mutex
}

func (o *unreachable) request(_ context.Context, _, n int64) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attempts++
	if time.Now().Before(o.until) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	return io.NopCloser(strings.NewReader(strings.Repeat("x", int(n)))), nil
}

// TestOutageEndsForAll holds that of many requests which an outage sent to
// sleep the first to wake wakes the others, one after the other, and that none
// waits behind another's delay.
func TestOutageEndsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests, lasts = 64, 10 * time.Second
		store := &unreachable{until: time.Now().Add(lasts)}
		r := New(Policy{}, Classify)
		began := time.Now()
		var group sync.WaitGroup
		for range requests {
			group.Go(func() {
				body, err := r.Open(t.Context(), 0, 1, store.request)
				if err != nil {
					t.Error(err)
					return
				}
				body.Close()
			})
		}
		group.Wait()
		if took := time.Since(began); took > lasts+2*time.Second {
			t.Errorf("an outage of %v took %v", lasts, took)
		}
		if store.attempts > 10*requests {
			t.Errorf("%d attempts of %d requests", store.attempts, requests)
		}
	})
}
