package gpuload

import (
	"context"
	"errors"
	"sync"
)

// stagingPool lends staging memory, at most budget.slots chunks of it. Memory
// is taken from the device only when no free chunk is left, by the reader that
// needs it (page-locking is slow, and done in parallel), and the chunk used
// last is lent first, while the caches still hold it.
type stagingPool struct {
	device Device
	budget budget
	tokens chan struct{} // one for each chunk lent

	mu   sync.Mutex
	free []Staging // guarded by mu; a stack
	all  []Staging // guarded by mu
}

func newStagingPool(dev Device, b budget) *stagingPool {
	return &stagingPool{device: dev, budget: b, tokens: make(chan struct{}, b.slots)}
}

// take lends a chunk; it waits while all are lent. Its owner gives it back with
// put once no copy reads from it.
func (p *stagingPool) take(ctx context.Context) (Staging, error) {
	select {
	case p.tokens <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s, ok := p.pop(); ok {
		return s, nil
	}
	s, err := p.device.NewStaging(p.budget.chunk)
	if err != nil {
		<-p.tokens
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, s)
	return s, nil
}

func (p *stagingPool) pop() (Staging, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return nil, false
	}
	s := p.free[n-1]
	p.free = p.free[:n-1]
	return s, true
}

func (p *stagingPool) put(s Staging) {
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
	<-p.tokens
}

// peak is the most staging memory that was taken from the device, in bytes.
func (p *stagingPool) peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.all)) * int64(p.budget.chunk)
}

// close frees all staging, lent or not: no copy may be under way any more.
func (p *stagingPool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.all {
		errs = append(errs, s.Free())
	}
	p.all, p.free = nil, nil
	return errors.Join(errs...)
}
