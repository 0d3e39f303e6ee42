package tier

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/remote"
	"weightfs/tests/memstore"
)

// TestBreaker holds when an instance is left alone, for how long, and when it is
// asked again.
func TestBreaker(t *testing.T) {
	now := time.Unix(1000, 0)
	b := breaker{jitter: func(d time.Duration) time.Duration { return d }}
	ask := func(wantAsk, wantProbe bool) {
		t.Helper()
		if ask, probe := b.admit(now); ask != wantAsk || probe != wantProbe {
			t.Errorf("at %v: ask %v, probe %v", now.Unix(), ask, probe)
		}
	}
	ask(true, false)
	b.served(now)
	if b.failed(now.Add(-time.Second), now, true) || b.failed(now, now, false) {
		t.Error("opened, though others were served meanwhile, or for one bad answer")
	}
	b.served(now)
	b.failed(now, now, false)
	b.failed(now, now, false)
	if !b.failed(now, now, false) {
		t.Error("not opened by three bad answers")
	}
	for _, length := range []time.Duration{1, 2, 4, 8, 15, 15} {
		length *= time.Second
		ask(false, false)
		if b.failed(now, now, true) {
			t.Error("opened twice")
		}
		now = now.Add(length - 1)
		ask(false, false)
		now = now.Add(1)
		ask(false, true)
		ask(false, false) // while it is probed
		b.probed(now, false)
	}
	now = now.Add(15 * time.Second)
	ask(false, true)
	b.probed(now, true)
	ask(true, false)
	if b.open(now); b.state != Open {
		t.Error("not opened")
	}
	now = now.Add(longestBreak)
	ask(false, true)
	b.unasked()
	ask(false, true) // at once
	b.probed(now, true)
	now = now.Add(2 * calm)
	if !b.failed(now.Add(-time.Second), now, true) {
		t.Error("not opened by silence")
	}
	now = now.Add(time.Second)
	ask(false, true) // after calm, breaks are short again
}

// TestOutage holds that without its tier a node asks the store within its budget,
// that nothing fails, and that the tier is used again soon after it is back.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 16 << 20
		var down atomic.Bool
		s := newScene(t, 16*Block, Config{DirectRate: rate}, func(_ *http.Request, right *http.Response) (*http.Response, error) {
			if down.Load() {
				return nil, errRefused
			}
			return right, nil
		})
		s.read(0, Block)
		down.Store(true)
		began := time.Now()
		var readers sync.WaitGroup
		for i := range 16 {
			readers.Go(func() { s.read(i*Block, Block) })
		}
		readers.Wait()
		took := time.Since(began)
		stats := s.tier.Stats()
		if stats.DirectBytes != 16*Block || stats.Delayed == 0 {
			t.Errorf("%+v", stats)
		}
		if budget := Block + int64(took.Seconds()*rate); stats.DirectBytes > budget {
			t.Errorf("%d bytes of the store in %v, budget %d", stats.DirectBytes, took, budget)
		}
		if least := time.Duration(15*Block) * time.Second / rate; took > least+spread {
			t.Errorf("took %v, the budget allows %v", took, least)
		}
		if n := s.asked(); n > 1+16+int(took/firstBreak)+1 {
			t.Errorf("the tier was asked %d times", n)
		}
		down.Store(false)
		back := time.Now()
		for s.tier.instances[0].state() != Closed {
			s.read(0, 1)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if after := time.Since(back); after > longestBreak+time.Second {
			t.Errorf("used again after %v", after)
		}
		direct := s.tier.Stats().DirectBytes
		s.read(0, 4*Block)
		if got := s.tier.Stats().DirectBytes; got != direct {
			t.Errorf("%d bytes more of the store", got-direct)
		}
	})
}

// TestCredentialsThatDoNotCome holds that they are held against no instance, asked or
// probed, and that a read which waits for them ends in its own time and is told of what.
func TestCredentialsThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readTimeout = time.Minute
		s := newScene(t, 2*Block, Config{}, faithful)
		in := s.tier.instances[0]
		s.origin.Hook(memstore.Hooks{Range: func(ctx context.Context, _ string, _ int64) error {
			if s.origin.waits.Load() {
				<-ctx.Done() // it needs the same credentials
			}
			return ctx.Err()
		}})
		wait := func() {
			t.Helper()
			var told error
			ctx, cancel := context.WithTimeout(remote.WithTrouble(t.Context(), func(cause error) { told = cause }), readTimeout)
			defer cancel()
			began := time.Now()
			_, err := s.store.OpenRange(ctx, s.origin.Object(objectKey), 0, 10)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != readTimeout {
				t.Errorf("%v after %v", err, took)
			}
			if in.state() == Closed && !errors.Is(told, errNoCredentials) {
				t.Errorf("the reader was told %v", told)
			}
		}
		s.origin.waits.Store(true)
		for range 2 * maxStrikes {
			wait()
		}
		if got := s.tier.Stats(); s.asked() != 0 || got.Instances[0].Failures != 0 || in.state() != Closed || s.fallbacks()["unsigned"] != 2*maxStrikes {
			t.Errorf("%+v after %d requests", got, s.asked())
		}
		in.mu.Lock()
		in.breaker.open(time.Now())
		length := in.breaker.length
		in.mu.Unlock()
		time.Sleep(length)
		wait()
		if got := in.state(); got != Open || in.breaker.length != length {
			t.Errorf("the instance is %v, after a break of %v", got, in.breaker.length)
		}
		s.origin.waits.Store(false)
		s.read(0, 1)
		synctest.Wait() // for the probe
		direct := s.tier.Stats().DirectBytes
		s.read(0, Block)
		if got := s.tier.Stats(); got.DirectBytes != direct || got.Instances[0].Breaks != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestSpread holds that nodes which lose their tier together do not turn to the
// store together.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var early, late atomic.Int64
		var nodes sync.WaitGroup
		for range 200 {
			b := newBudget(DefaultDirectRate)
			b.lost(time.Now())
			nodes.Go(func() {
				if err := b.take(t.Context(), Block); err != nil {
					t.Error(err)
				}
				if time.Since(began) < spread/2 {
					early.Add(1)
				} else {
					late.Add(1)
				}
			})
		}
		nodes.Wait()
		if early.Load() < 50 || late.Load() < 50 {
			t.Errorf("%d in the first half of a second, %d in the second", early.Load(), late.Load())
		}
	})
}

// TestBudgetGivesBack holds that who waits is told why, and that who stops waiting costs
// the others nothing.
func TestBudgetGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(Block)
		if err := b.take(t.Context(), Block); err != nil {
			t.Fatal(err)
		}
		var told error
		ctx, cancel := context.WithTimeout(remote.WithTrouble(t.Context(), func(cause error) { told = cause }), time.Millisecond)
		defer cancel()
		if err := b.take(ctx, Block); err == nil || !errors.Is(told, errOverBudget) {
			t.Errorf("there was budget: %v, told %v", err, told)
		}
		began := time.Now()
		if err := b.take(t.Context(), Block); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		free := newBudget(-1)
		free.lost(time.Now())
		for range 100 {
			if err := free.take(t.Context(), Block); err != nil || free.waited.Load() != 0 {
				t.Fatal(err, free.waited.Load())
			}
		}
	})
}

// TestChoice holds that each group of blocks has its instance, the same for every
// node, and that one which is gone moves no group but its own.
func TestChoice(t *testing.T) {
	var urls []string
	for i := range 5 {
		urls = append(urls, fmt.Sprintf("http://node%d:81", i))
	}
	reversed := []string{urls[4], urls[3], urls[2], urls[1], urls[0]}
	newTier := func(urls []string) *Tier {
		tier, err := New(Config{URLs: urls})
		if err != nil {
			t.Fatal(err)
		}
		return tier
	}
	a, b, fewer := newTier(urls), newTier(reversed), newTier(urls[:4])
	obj := remote.Object{Key: "model", Version: "v1"}
	share := map[string]int{}
	for i := range int64(2000) {
		off := i * group
		first := a.order(obj, off)[0].name
		share[first]++
		if other := b.order(obj, off+group-1)[0].name; other != first {
			t.Fatalf("group %d: %s, and on another node %s", i, first, other)
		}
		if left := fewer.order(obj, off)[0].name; first != urls[4] && left != first {
			t.Fatalf("group %d moved from %s to %s", i, first, left)
		}
	}
	for _, url := range urls {
		if n := share[url]; n < 300 || n > 500 {
			t.Errorf("%s has %d of 2000 groups", url, n)
		}
	}
}

// TestFailOver holds that a hung instance costs one wait, and the store nothing.
func TestFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		urls := []string{"http://one.example", "http://two.example", "http://three.example"}
		s := newScene(t, 6*group, Config{URLs: urls}, func(r *http.Request, right *http.Response) (*http.Response, error) {
			if r.URL.Host == "two.example" {
				return never(r)
			}
			return right, nil
		})
		began := time.Now()
		s.read(0, 6*group)
		if took := time.Since(began); took > patience+patience {
			t.Errorf("took %v", took)
		}
		if direct := s.tier.Stats().DirectBytes; direct != 0 {
			t.Errorf("%d bytes of the store", direct)
		}
		for _, r := range s.requests {
			var first, last int64
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
			if first/group != last/group {
				t.Errorf("%s crosses a group", r.Header.Get("Range"))
			}
		}
	})
}

// TestSlowBlockIsNotAnOutage holds that one block that is not filled in time does
// not turn the readers of others away.
func TestSlowBlockIsNotAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, 2*Block, Config{}, func(r *http.Request, right *http.Response) (*http.Response, error) {
			if r.Header.Get("Range") == "bytes=0-9" {
				return never(r)
			}
			return right, nil
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.read(0, 10)
		}()
		time.Sleep(time.Second)
		s.read(Block, 10)
		<-done
		s.read(Block, 10)
		if got := s.tier.Stats(); got.Instances[0].Breaks != 0 || got.DirectBytes != 10 || s.fallbacks()["silent"] != 1 {
			t.Errorf("%+v", got)
		}
	})
}
