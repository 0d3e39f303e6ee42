package gpuload

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
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
