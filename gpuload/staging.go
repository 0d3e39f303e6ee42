package gpuload

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// stagingPool lends staging memory by pieces of budget.piece bytes: budget.slots of
// them, and budget.early more until the device is ready, since nothing can be copied
// away before. Memory is taken from the device only when no free piece is left, by
// the reader that needs it (page-locking is slow, and done in parallel), and the
// piece used last is lent first, while the caches still hold it. What was lent early
// goes back to the device once it is copied: it is of no use any more.
//
// What is copied from elsewhere counts as pieces too, see borrow.
type stagingPool struct {
	device Device
	budget budget
	tokens chan struct{}   // one for each piece lent
	early  chan struct{}   // one for each piece lent beyond those
	ready  <-chan struct{} // closed when the device is; nil if it always was

	reading atomic.Int32 // pieces that are being read into
	waiting atomic.Int32 // calls of take that wait

	mu   sync.Mutex
	free []Staging            // guarded by mu; a stack
	all  map[Staging]struct{} // guarded by mu
	lent int                  // guarded by mu; pieces of somebody else's memory
	most int                  // guarded by mu; of all and lent together, at most
}

func newStagingPool(dev Device, b budget) *stagingPool {
	return &stagingPool{device: dev, budget: b, ready: dev.Advice().Ready, all: make(map[Staging]struct{}),
		tokens: make(chan struct{}, b.slots), early: make(chan struct{}, b.early)}
}

// try lends a piece, or none while all are lent.
func (p *stagingPool) try() (s Staging, ok bool, err error) {
	select {
	case p.tokens <- struct{}{}:
	default:
		select {
		case p.opening() <- struct{}{}:
		default:
			return nil, false, nil
		}
	}
	s, err = p.piece()
	return s, err == nil, err
}

// take lends a piece; it waits while all are lent. Its owner gives it back with
// put once no copy reads from it.
func (p *stagingPool) take(ctx context.Context) (Staging, error) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case p.tokens <- struct{}{}:
		return p.piece()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// opening is where a token for an early piece goes: nowhere once the device is ready.
func (p *stagingPool) opening() chan<- struct{} {
	select {
	case <-p.ready:
		return nil
	default:
	}
	if p.ready == nil {
		return nil
	}
	return p.early
}

// piece is a free piece, or a new one. The caller has put a token for it.
func (p *stagingPool) piece() (Staging, error) {
	if s, ok := p.pop(); ok {
		return s, nil
	}
	s, err := p.device.NewStaging(p.budget.piece)
	if err != nil {
		p.untake()
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[s] = struct{}{}
	p.most = max(p.most, len(p.all)+p.lent)
	return s, nil
}

// borrow counts a piece of somebody else's memory as one of staging, until giveBack.
// It waits while all are lent.
func (p *stagingPool) borrow(ctx context.Context) error {
	select {
	case p.tokens <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	p.lent++
	var idle Staging
	if len(p.free) > 0 && len(p.all)+p.lent > p.budget.slots {
		idle, p.free = p.free[0], p.free[1:]
		delete(p.all, idle)
	}
	p.most = max(p.most, len(p.all)+p.lent)
	p.mu.Unlock()
	if idle == nil {
		return nil
	}
	return idle.Free()
}

// giveBack ends a borrow.
func (p *stagingPool) giveBack() {
	p.mu.Lock()
	p.lent--
	p.mu.Unlock()
	p.untake()
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

// put takes a piece back.
func (p *stagingPool) put(s Staging) error {
	if p.waiting.Load() == 0 {
		select {
		case <-p.early:
			return p.drop(s)
		default:
		}
	}
	p.mu.Lock()
	p.free = append(p.free, s)
	p.mu.Unlock()
	p.untake()
	return nil
}

// drop gives a piece back to the device.
func (p *stagingPool) drop(s Staging) error {
	p.mu.Lock()
	delete(p.all, s)
	p.mu.Unlock()
	return s.Free()
}

// untake takes a token back, so that who waits for one gets it.
func (p *stagingPool) untake() {
	select {
	case <-p.tokens:
	default:
		<-p.early
	}
}

// mostlyRead tells whether who waits for a piece waits for reads rather than for
// copies.
func (p *stagingPool) mostlyRead() bool { return 2*int(p.reading.Load()) >= len(p.tokens)+len(p.early) }

// peak is the most staging memory that was taken from the device, in bytes.
func (p *stagingPool) peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.most) * int64(p.budget.piece)
}

// close frees all staging, lent or not: no copy may be under way any more.
func (p *stagingPool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for s := range p.all {
		errs = append(errs, s.Free())
	}
	clear(p.all)
	p.free = nil
	return errors.Join(errs...)
}
