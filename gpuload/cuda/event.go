//go:build cuda

package cuda

import (
	"context"
	"errors"
	"sync"

	"gorgonia.org/cu"
)

// event is a recorded CUDA event. Its handle goes back to the pool when it is
// spent.
type event struct {
	device *Device
	handle cu.Event
	spent  bool
	err    error // what the event said when it was spent
}

func (e *event) Done() (bool, error) {
	if e.spent {
		return true, e.err
	}
	err := e.device.do(e.handle.Query)
	if err == notReady {
		return false, nil
	}
	e.device.events.give(e.handle)
	e.spend(err)
	return true, e.err
}

// Wait blocks a thread of its own where the copies are not done yet: the driver
// offers nothing that a select could wait on, and an event is due within
// milliseconds. Where ctx ends first, that thread goes on until the event.
func (e *event) Wait(ctx context.Context) error {
	if done, err := e.Done(); done {
		return err
	}
	if ctx.Done() == nil {
		e.spend(e.device.events.wait(e.handle))
		return e.err
	}
	answer := make(chan error, 1)
	handle := e.handle
	e.device.events.waits.Go(func() { answer <- e.device.events.wait(handle) })
	select {
	case err := <-answer:
		e.spend(err)
	case <-ctx.Done():
		e.spent, e.err = true, ctx.Err()
	}
	return e.err
}

func (e *event) spend(err error) {
	e.spent = true
	if err != nil {
		e.err = e.device.fail("asynchronous copy", err)
	}
}

// eventPool is the device's CUDA events: making one costs a call of the driver,
// and one is needed for each part loaded. The zero value with a device is empty.
type eventPool struct {
	device *Device
	waits  sync.WaitGroup // threads that wait for an event

	mu   sync.Mutex
	all  []cu.Event // guarded by mu; every event made
	free []cu.Event // guarded by mu; those not in use
}

func (p *eventPool) take() (cu.Event, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		return e, nil
	}
	var e cu.Event
	err := p.device.do(func() (err error) {
		e, err = cu.MakeEvent(cu.DisableTiming | cu.BlockingSyncEvent)
		return err
	})
	if err != nil {
		return cu.Event{}, err
	}
	p.all = append(p.all, e)
	return e, nil
}

func (p *eventPool) give(e cu.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, e)
}

// wait blocks until e is done, without spinning, and gives it back.
func (p *eventPool) wait(e cu.Event) error {
	defer p.give(e)
	return p.device.do(e.Synchronize)
}

// close joins the threads that wait and destroys all events.
func (p *eventPool) close() error {
	p.waits.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for i := range p.all {
		if err := p.device.do(func() error { return cu.DestroyEvent(&p.all[i]) }); err != nil {
			errs = append(errs, p.device.fail("destroy event", err))
		}
	}
	return errors.Join(errs...)
}
