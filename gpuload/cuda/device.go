//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gorgonia.org/cu"

	"weightfs/gpuload"
)

var _ gpuload.Device = (*Device)(nil)

// Device is one GPU. Its methods are safe for concurrent use, except Close,
// which the owner calls once, when no other call is under way.
type Device struct {
	info    Info
	ordinal cu.Device
	opening *opening
	events  eventPool
	bounces *bouncePool
	locked  pageLocked
	foreign registered
	logger  *slog.Logger
	node    int // of the host's memory, for staging; or noNode

	// registrationRefused says that the driver page-locks no memory but its own.
	registrationRefused atomic.Bool

	mu       sync.RWMutex
	memories map[*memory]struct{}  // guarded by mu
	streams  map[*stream]struct{}  // guarded by mu
	stagings map[*staging]struct{} // guarded by mu
}

// Config is how a device is used. The zero value has the defaults.
type Config struct {
	// Logger is told what makes the device slower than it could be; nil: nobody.
	Logger *slog.Logger
	// AnyNode leaves it to the kernel on which NUMA node staging lies; without it
	// that is the node that the GPU is attached to, where that has free memory.
	AnyNode bool
}

// Open starts the driver, begins to make the GPU with that ordinal ready, and
// returns once it is known to be there. Creating the context takes 0.15 s or more
// where the process has none on it yet, and goes on behind it: staging is to be had at
// once, and the first call that needs the context waits for it and returns its
// error. The caller closes the device.
func Open(ordinal int, cfg Config) (*Device, error) {
	infos, err := List()
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, err)
	}
	if ordinal < 0 || ordinal >= len(infos) {
		return nil, fmt.Errorf("no GPU cuda:%d: the driver shows %d, from cuda:0", ordinal, len(infos))
	}
	dev, err := cu.GetDevice(ordinal)
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", ordinal, translate(err))
	}
	d := &Device{
		info:     infos[ordinal],
		ordinal:  dev,
		opening:  open(dev),
		logger:   cfg.Logger,
		node:     noNode,
		memories: make(map[*memory]struct{}),
		streams:  make(map[*stream]struct{}),
		stagings: make(map[*staging]struct{}),
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	if !cfg.AnyNode {
		d.node = numaNode(os.DirFS("/"), d.info.PCIBusID)
	}
	d.events.device = d
	d.bounces = newBouncePool(d)
	return d, nil
}

// Name is "cuda:N".
func (d *Device) Name() string { return fmt.Sprintf("cuda:%d", d.info.Ordinal) }

// Describe is model, memory, PCI address and driver.
func (d *Device) Describe() string { return d.info.String() }

// Advice has two streams copy 8 MiB and more at a time: by 256 KiB, 1 MiB and 8 MiB
// a GPU copied at 33, 46 and 52 GB/s.
func (d *Device) Advice() gpuload.Advice {
	return gpuload.Advice{PieceBytes: 8 << 20, Streams: 2, Ready: d.opening.done}
}

// Info says what the GPU is.
func (d *Device) Info() Info { return d.info }

// NUMANode is the node of the host on which staging lies, that of the GPU; -1 where
// there is but one, it is not known, or staging may lie on any.
func (d *Device) NUMANode() int { return d.node }

// Wait waits for the context and returns the error of creating it.
func (d *Device) Wait() error {
	_, err := d.opening.wait()
	return err
}

// ReadyAt is when the context was there; it waits for that.
func (d *Device) ReadyAt() time.Time {
	<-d.opening.done
	return d.opening.at
}

// PageLockedPeak is the most host memory that was page-locked at a time, in
// bytes: staging, and the buffers through which reads back go, and not what was
// registered, which is there anyway.
func (d *Device) PageLockedPeak() int64 { return d.locked.peak() }

// Close drains the streams, frees everything that was taken from the device and
// not freed yet, and lets go of the context.
func (d *Device) Close() error {
	<-d.opening.done
	d.mu.Lock()
	memories, streams := d.memories, d.streams
	d.mu.Unlock()
	var errs []error
	for s := range streams {
		errs = append(errs, s.Close())
	}
	errs = append(errs, d.bounces.close(), d.events.close())
	if d.opening.err == nil {
		errs = append(errs, d.unregisterAll())
	}
	d.mu.Lock()
	stagings := maps.Clone(d.stagings)
	d.mu.Unlock()
	for s := range stagings {
		errs = append(errs, s.Free())
	}
	for m := range memories {
		errs = append(errs, m.Free())
	}
	if d.opening.err != nil {
		return errors.Join(errs...)
	}
	if err := d.ordinal.ReleasePrimaryCtx(); err != nil {
		errs = append(errs, d.fail("release context", translate(err)))
	}
	return errors.Join(errs...)
}

// do runs f, calls of the driver, with the device's context current. It waits
// for the context.
func (d *Device) do(f func() error) error {
	ctx, err := d.opening.wait()
	if err != nil {
		return err
	}
	return in(ctx, f)
}

// fail says what was attempted on which device.
func (d *Device) fail(attempt string, err error) error {
	return fmt.Errorf("%s: %s: %w", d.Name(), attempt, err)
}
