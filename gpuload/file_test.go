package gpuload

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuckBlob answers nothing until its reader gives up.
type stuckBlob struct{ blob }

func (stuckBlob) stream(ctx context.Context, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestHeaderWaitsAsLongAsItsContext holds that whoever waits for another's read
// of a header can give up before that ends.
func TestHeaderWaitsAsLongAsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFile("a", "a", 100, stuckBlob{})
		first, stopFirst := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { _, err := f.Header(first); ended <- err }()
		synctest.Wait()
		second, stopSecond := context.WithCancel(t.Context())
		go func() { _, err := f.Header(second); ended <- err }()
		synctest.Wait()
		stopSecond()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		default:
			t.Error("a reader that gave up is still waiting for the other one")
		}
		stopFirst()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the first one: %v, want context.Canceled", err)
		}
	})
}

// TestNoHeaderAfterTheEnd holds that nothing is read for a context that is over:
// a read of a mount that hangs cannot be cancelled once it has begun.
func TestNoHeaderAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked := 0
	for range 100 { // where both are ready, select takes either
		f := newFile("a", "a", 100, failingBlob{asked: &asked})
		if _, err := f.Header(ctx); !errors.Is(err, context.Canceled) || asked > 0 {
			t.Fatalf("%v after %d reads, want context.Canceled after none", err, asked)
		}
	}
}

// failingBlob fails a second after it was asked, and counts how often it was.
type failingBlob struct {
	blob
	asked *int
}

var errFails = errors.New("it fails")

func (b failingBlob) stream(context.Context, int64, int64) (io.ReadCloser, error) {
	*b.asked++
	time.Sleep(time.Second)
	return nil, errFails
}

// TestHeaderFailsForAllWhoWait holds that a header which cannot be read costs
// those who wait for it no time-out each, and that who comes later asks again.
func TestHeaderFailsForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked int
		f := newFile("a", "a", 100, failingBlob{asked: &asked})
		for round := 1; round <= 2; round++ {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if _, err := f.Header(t.Context()); !errors.Is(err, errFails) {
						t.Errorf("%v, want %v", err, errFails)
					}
				})
			}
			all.Wait()
			if asked != round {
				t.Errorf("asked %d times in %d rounds", asked, round)
			}
			time.Sleep(time.Second)
		}
	})
}
