package prefetch

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
)

// silent is a store whose GETs get no answer until they are cancelled.
type silent struct{ remote.Store }

func (silent) OpenRange(ctx context.Context, _ remote.Object, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestActivityOfReadersThatWait has two readers wait for two objects of a store
// that does not answer, and a third one that waits for memory.
func TestActivityOfReadersThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, silent{}, Config{MemoryLimit: MinMemoryLimit, Mode: Off})
		ctx, cancel := context.WithCancel(t.Context())
		view := func(key string, n int) {
			r := c.Open(remote.Object{Key: key, Size: 64 * mib, Version: "1"})
			go func() {
				defer r.Close()
				if v, err := r.View(ctx, 0, n); err == nil {
					v.Release()
				}
			}()
			synctest.Wait()
		}
		view("a", 64<<10)
		time.Sleep(time.Second)
		view("b", 64<<10)
		time.Sleep(time.Second)
		a := c.Activity()
		if len(a.Fetches) != 2 || a.Queued != 0 || a.Memory != (Waits{}) {
			t.Errorf("%+v", a)
		}
		if want := (Waits{2, 3 * time.Second}); a.Bytes != want || c.Totals() != (Totals{Waited: want.Total, Fetching: want.Total, Unanswered: want.Total}) {
			t.Errorf("waits %+v, want %+v", a.Bytes, want)
		}
		first := a.Fetches[0]
		if first.Key != "a" || time.Since(first.Began) != 2*time.Second || first.Answered || !first.Awaited || first.Landed != 0 || first.Length < 64<<10 {
			t.Errorf("the oldest GET: %+v", first)
		}
		for _, key := range []string{"c", "d", "e", "f"} { // 16 MiB and more
			view(key, MaxView)
		}
		time.Sleep(time.Second)
		if a = c.Activity(); a.Memory.Readers == 0 || a.Memory.Total != time.Duration(a.Memory.Readers)*time.Second || a.Bytes.Readers != 6 {
			t.Errorf("without memory: %+v", a)
		}
		cancel()
		synctest.Wait()
		if a = c.Activity(); a.Bytes.Readers != 0 || a.Memory.Readers != 0 || len(a.Fetches) != 0 {
			t.Errorf("once all have gone: %+v", a)
		}
	})
}

// TestActivityOfAStream looks at a fetch whose bytes come.
func TestActivityOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, &slowStore{rate: 1 * mib}, Config{Mode: Off})
		r := c.Open(remote.Object{Key: "a", Size: 64 * mib, Version: "1"})
		defer r.Close()
		done := make(chan error)
		go func() {
			v, err := r.View(t.Context(), 0, MaxView)
			if err == nil {
				v.Release()
			}
			done <- err
		}()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		a := c.Activity()
		if len(a.Fetches) != 1 || !a.Fetches[0].Answered || a.Fetches[0].Landed < mib || a.Fetches[0].Landed > 2*mib {
			t.Errorf("after two seconds: %+v", a)
		}
		if totals := c.Totals(); totals.Fetching != 2*time.Second || totals.Unanswered > time.Second/8 {
			t.Errorf("after two seconds: %+v", totals)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		before := c.Totals()
		time.Sleep(time.Second)
		if after := c.Totals(); after != before || after.Fetching < 4*time.Second || after.FetchedBytes != MaxView {
			t.Errorf("at the end %+v, and a second later %+v", before, after)
		}
	})
}

// slowStore has so many bytes for each second, all of them 0.
type slowStore struct {
	remote.Store
	rate int64
}

func (s *slowStore) OpenRange(ctx context.Context, _ remote.Object, _, n int64) (io.ReadCloser, error) {
	return io.NopCloser(&slowBody{ctx, s.rate, n}), nil
}

type slowBody struct {
	ctx        context.Context
	rate, left int64
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(b.left, int64(len(p)), 64<<10)
	select {
	case <-time.After(time.Duration(n) * time.Second / time.Duration(b.rate)):
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	b.left -= n
	return int(n), nil
}
