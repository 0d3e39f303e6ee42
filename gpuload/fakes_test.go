package gpuload_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"weightfs/gpuload"
)

// gauge is how much of something is held, and was at most.
type gauge struct{ now, peak atomic.Int64 }

func (g *gauge) add(n int64) {
	now := g.now.Add(n)
	for peak := g.peak.Load(); now > peak && !g.peak.CompareAndSwap(peak, now); peak = g.peak.Load() {
	}
}

// countingDevice knows what was taken from it and not freed.
type countingDevice struct {
	gpuload.Device
	memory, staging, streams, events gauge
}

func (d *countingDevice) expectFreed(t testing.TB) {
	t.Helper()
	if m, s, q, e := d.memory.now.Load(), d.staging.now.Load(), d.streams.now.Load(), d.events.now.Load(); m != 0 || s != 0 || q != 0 || e != 0 {
		t.Errorf("%d bytes of memory, %d of staging, %d streams and %d events were not freed", m, s, q, e)
	}
}

func (d *countingDevice) Alloc(n int64) (gpuload.Memory, error) {
	m, err := d.Device.Alloc(n)
	if err != nil {
		return nil, err
	}
	d.memory.add(n)
	return &countedMemory{m, d}, nil
}

type countedMemory struct {
	gpuload.Memory
	device *countingDevice
}

func (m *countedMemory) Free() error {
	m.device.memory.add(-m.Size())
	return m.Memory.Free()
}

func (d *countingDevice) NewStaging(n int) (gpuload.Staging, error) {
	s, err := d.Device.NewStaging(n)
	if err != nil {
		return nil, err
	}
	d.staging.add(int64(n))
	return &countedStaging{s, d}, nil
}

type countedStaging struct {
	gpuload.Staging
	device *countingDevice
}

func (s *countedStaging) Free() error {
	s.device.staging.add(-int64(len(s.Bytes())))
	return s.Staging.Free()
}

func (d *countingDevice) NewStream() (gpuload.Stream, error) {
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	d.streams.add(1)
	return &countedStream{s, d}, nil
}

type countedStream struct {
	gpuload.Stream
	device *countingDevice
}

func (s *countedStream) Copy(dst gpuload.Memory, off int64, src gpuload.Staging, begin, n int) error {
	return s.Stream.Copy(dst.(*countedMemory).Memory, off, src.(*countedStaging).Staging, begin, n)
}

func (s *countedStream) Record() (gpuload.Event, error) {
	e, err := s.Stream.Record()
	if err != nil {
		return nil, err
	}
	s.device.events.add(1)
	return &countedEvent{Event: e, device: s.device}, nil
}

// countedEvent is freed when it is seen to be done.
type countedEvent struct {
	gpuload.Event
	device *countingDevice
	freed  atomic.Bool
}

func (e *countedEvent) Done() (bool, error) {
	done, err := e.Event.Done()
	if done && e.freed.CompareAndSwap(false, true) {
		e.device.events.add(-1)
	}
	return done, err
}

func (e *countedEvent) Wait(ctx context.Context) error {
	err := e.Event.Wait(ctx)
	// Where ctx ended first, a device frees it when the copy is done.
	if e.freed.CompareAndSwap(false, true) {
		e.device.events.add(-1)
	}
	return err
}

func (s *countedStream) Close() error {
	s.device.streams.add(-1)
	return s.Stream.Close()
}

var errBroken = errors.New("broken on purpose")

// failingDevice fails at the operation named, the third time it is used;
// staging and streams, of which one may be enough for all, the first time.
type failingDevice struct {
	gpuload.Device
	fails string
	count atomic.Int32
}

func (d *failingDevice) try(what string) error {
	if what == d.fails && (d.count.Add(1) >= 3 || what == "staging" || what == "stream") {
		return errBroken
	}
	return nil
}

func (d *failingDevice) NewStaging(n int) (gpuload.Staging, error) {
	if err := d.try("staging"); err != nil {
		return nil, err
	}
	return d.Device.NewStaging(n)
}

func (d *failingDevice) NewStream() (gpuload.Stream, error) {
	if err := d.try("stream"); err != nil {
		return nil, err
	}
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	return &failingStream{s, d}, nil
}

type failingStream struct {
	gpuload.Stream
	device *failingDevice
}

func (s *failingStream) Copy(dst gpuload.Memory, off int64, src gpuload.Staging, begin, n int) error {
	return errors.Join(s.device.try("copy"), s.Stream.Copy(dst, off, src, begin, n))
}

func (s *failingStream) Record() (gpuload.Event, error) {
	if err := s.device.try("record"); err != nil {
		return nil, err
	}
	e, err := s.Stream.Record()
	if err != nil {
		return nil, err
	}
	return &failingEvent{e, s.device}, nil
}

type failingEvent struct {
	gpuload.Event
	device *failingDevice
}

func (e *failingEvent) Wait(ctx context.Context) error {
	return errors.Join(e.device.try("wait"), e.Event.Wait(ctx))
}
