//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"sync"

	"gorgonia.org/cu"

	"weightfs/gpuload"
)

var _ gpuload.Device = (*Device)(nil)

// Device is one GPU. Its methods are safe for concurrent use, except Close,
// which the owner calls once, when no other call is under way.
type Device struct {
	info    Info
	ordinal cu.Device
	ctx     cu.CUContext
	events  eventPool
	bounces bouncePool

	mu       sync.RWMutex
	memories map[*memory]struct{} // guarded by mu
	streams  map[*stream]struct{} // guarded by mu
	stagings spans                // guarded by mu
}

// Open makes the GPU with that ordinal ready, which takes 0.15 s or more where
// the process has no context on it yet. The caller closes it.
func Open(ordinal int) (*Device, error) {
	infos, err := List()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= len(infos) {
		return nil, fmt.Errorf("no GPU cuda:%d: the driver shows %d, from cuda:0", ordinal, len(infos))
	}
	dev, err := cu.GetDevice(ordinal)
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, translate(err))
	}
	ctx, err := dev.RetainPrimaryCtx()
	if err != nil {
		return nil, fmt.Errorf("cuda:%d (%s): create context: %w", ordinal, infos[ordinal].Model, translate(err))
	}
	d := &Device{
		info:     infos[ordinal],
		ordinal:  dev,
		ctx:      ctx,
		memories: make(map[*memory]struct{}),
		streams:  make(map[*stream]struct{}),
	}
	d.events.device = d
	d.bounces = newBouncePool(d)
	return d, nil
}

// Name is "cuda:N".
func (d *Device) Name() string { return fmt.Sprintf("cuda:%d", d.info.Ordinal) }

// Describe is model, memory, PCI address and driver.
func (d *Device) Describe() string { return d.info.String() }

// Info says what the GPU is.
func (d *Device) Info() Info { return d.info }

// Close drains the streams, frees everything that was taken from the device and
// not freed yet, and lets go of the context.
func (d *Device) Close() error {
	d.mu.Lock()
	memories, streams, stagings := d.memories, d.streams, d.stagings.all()
	d.mu.Unlock()
	var errs []error
	for s := range streams {
		errs = append(errs, s.Close())
	}
	errs = append(errs, d.bounces.close(), d.events.close())
	for _, s := range stagings {
		errs = append(errs, s.Free())
	}
	for m := range memories {
		errs = append(errs, m.Free())
	}
	if err := d.ordinal.ReleasePrimaryCtx(); err != nil {
		errs = append(errs, d.fail("release context", translate(err)))
	}
	return errors.Join(errs...)
}

// do runs f, calls of the driver, with the device's context current.
func (d *Device) do(f func() error) error { return in(d.ctx, f) }

// fail says what was attempted on which device.
func (d *Device) fail(attempt string, err error) error {
	return fmt.Errorf("%s: %s: %w", d.Name(), attempt, err)
}
