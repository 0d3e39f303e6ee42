package prefetch

import (
	"fmt"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// adviser is ristretto's opinion on which read blocks are worth keeping, by
// how often their ids were seen. It only advises: residency is the truth of
// the cache's map and recency list. Its callbacks run on ristretto's own
// goroutines and never call the cache.
type adviser struct {
	policy *ristretto.Cache[uint64, struct{}]
	// refused holds ids that the policy let go, each at its remainder. Of fixed
	// size, since a callback may come after the block is gone; where two ids
	// share a place the older one's advice is lost, which costs nothing.
	refused []atomic.Uint64
}

// newAdviser sizes the policy for a number of blocks.
func newAdviser(blocks int64) (*adviser, error) {
	a := &adviser{refused: make([]atomic.Uint64, 2*blocks)}
	policy, err := ristretto.NewCache(&ristretto.Config[uint64, struct{}]{
		NumCounters:        10 * blocks,
		MaxCost:            blocks,
		BufferItems:        64,
		IgnoreInternalCost: true, // cost is in blocks
		OnEvict:            func(item *ristretto.Item[struct{}]) { a.refuse(item.Key) },
		OnReject:           func(item *ristretto.Item[struct{}]) { a.refuse(item.Key) },
	})
	if err != nil {
		return nil, fmt.Errorf("create the retention policy: %w", err)
	}
	a.policy = policy
	return a, nil
}

// refuse notes an id that the policy let go. Idempotent.
func (a *adviser) refuse(id uint64) { a.place(id).Store(id) }

// seen counts an access to a resident block, and proposes it if the policy
// does not hold it. Called without the cache's lock.
func (a *adviser) seen(id uint64) {
	if _, held := a.policy.Get(id); !held {
		a.policy.Set(id, struct{}{}, 1)
	}
}

// forget ends an id's residency: the block left the cache. Called without the
// cache's lock.
func (a *adviser) forget(id uint64) {
	a.policy.Del(id)
	a.place(id).CompareAndSwap(id, 0)
}

// advisesAgainst says whether the policy would rather lose the block.
func (a *adviser) advisesAgainst(id uint64) bool { return a.place(id).Load() == id }

func (a *adviser) place(id uint64) *atomic.Uint64 { return &a.refused[id%uint64(len(a.refused))] }

func (a *adviser) close() { a.policy.Close() }
