package tier

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"weightfs/remote/retry"
)

// spread is over how long the nodes that lost their tier at the same time turn to
// the store.
const spread = time.Second

// budget is what a node may ask of the store in place of the tier: so many bytes
// per second, and one block at once. Safe for concurrent use.
type budget struct {
	limiter *rate.Limiter
	waited  atomic.Int64 // nanoseconds, by all together

	mu   sync.Mutex
	hold time.Time // nobody before then; guarded by mu
}

// newBudget is a budget of bytes per second; below 0 there is no limit.
func newBudget(bytesPerSecond int64) *budget {
	limit := rate.Limit(bytesPerSecond)
	if bytesPerSecond < 0 {
		limit = rate.Inf
	}
	return &budget{limiter: rate.NewLimiter(limit, Block)}
}

// lost notes that there is no tier from now on.
func (b *budget) lost(now time.Time) {
	if b.limiter.Limit() == rate.Inf {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = now.Add(rand.N(spread))
}

// errOverBudget is why a read waits that was not answered by the tier.
var errOverBudget = errors.New("the shared cache fails, and what is read from the store in its place is over its rate")

// take waits until n bytes, at most a Block, may be asked for. The turns are in the
// order of the calls. Who waits under [remote.WithTrouble] is told why.
func (b *budget) take(ctx context.Context, n int64) error {
	now := time.Now()
	turn := b.limiter.ReserveN(now, int(n))
	delay := max(turn.DelayFrom(now), b.held(now))
	if delay <= 0 {
		return ctx.Err()
	}
	retry.Report(ctx, errOverBudget)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	defer func() { b.waited.Add(int64(time.Since(now))) }()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return context.Cause(ctx)
	}
}

func (b *budget) held(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hold.Sub(now)
}
