//go:build cuda

package cuda

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"gorgonia.org/cu"

	"weightfs/gpuload"
)

// stream is a CUDA stream that does not synchronize with the default stream.
type stream struct {
	device *Device
	handle cu.Stream

	mu     sync.RWMutex // held for reading while handle is used
	closed bool         // guarded by mu
}

var errClosed = errors.New("stream is closed")

// NewStream makes a stream. It waits for the device's context.
func (d *Device) NewStream() (gpuload.Stream, error) {
	s := &stream{device: d}
	err := d.do(func() (err error) {
		s.handle, err = cu.MakeStream(cu.NonBlocking)
		return err
	})
	if err != nil {
		return nil, d.fail("make stream", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams[s] = struct{}{}
	return s, nil
}

func (s *stream) Copy(dst gpuload.Memory, off int64, src gpuload.Staging, begin, n int) error {
	attempt := fmt.Sprintf("copy %d bytes to offset %d", n, off)
	m, err := s.device.target(dst, off, n)
	if err != nil {
		return s.device.fail(attempt, err)
	}
	bytes, err := s.device.source(src, begin, n)
	if err != nil {
		return s.device.fail(attempt, err)
	}
	if n == 0 {
		return nil
	}
	err = s.use(func() error {
		return cu.MemcpyHtoDAsync(m.addr+cu.DevicePtr(off), unsafe.Pointer(unsafe.SliceData(bytes)), int64(n), s.handle)
	})
	if err != nil {
		return s.device.fail(attempt, err)
	}
	return nil
}

// target is dst as the device's own memory, where n bytes have room at off.
func (d *Device) target(dst gpuload.Memory, off int64, n int) (*memory, error) {
	m, ok := dst.(*memory)
	switch {
	case !ok || m.device != d:
		return nil, fmt.Errorf("the target is not this device's (%T)", dst)
	case m.freed.Load():
		return nil, errFreed
	case off < 0 || off > m.size || int64(n) > m.size-off:
		return nil, fmt.Errorf("the target has %d bytes", m.size)
	}
	return m, nil
}

// source is n bytes of src, which must be staging of the device, where they are
// page-locked.
func (d *Device) source(src gpuload.Staging, begin, n int) ([]byte, error) {
	if f, ok := src.(*foreign); ok && f.device == d {
		if begin < 0 || n < 0 || begin > len(f.bytes) || n > len(f.bytes)-begin {
			return nil, fmt.Errorf("the source has %d bytes", len(f.bytes))
		}
		return f.bytes[begin:][:n], nil
	}
	s, ok := src.(*staging)
	switch {
	case !ok || s.device != d:
		return nil, fmt.Errorf("the source is not staging of this device (%T)", src)
	case begin < 0 || n < 0 || begin > s.size || n > s.size-begin:
		return nil, fmt.Errorf("the source has %d bytes", s.size)
	}
	if err := s.lock(); err != nil {
		return nil, err
	}
	return s.Bytes()[begin:][:n], nil
}

func (s *stream) Record() (gpuload.Event, error) {
	e, err := s.record()
	if err != nil {
		return nil, s.device.fail("record event", err)
	}
	return &event{device: s.device, handle: e}, nil
}

func (s *stream) record() (cu.Event, error) {
	e, err := s.device.events.take()
	if err != nil {
		return cu.Event{}, err
	}
	if err := s.use(func() error { return e.Record(s.handle) }); err != nil {
		s.device.events.give(e)
		return cu.Event{}, err
	}
	return e, nil
}

// Sync waits on an event rather than on the stream, because an event can be
// waited for without spinning.
func (s *stream) Sync() error {
	e, err := s.Record()
	if err != nil {
		return err
	}
	return e.Wait(context.Background())
}

func (s *stream) Close() error {
	syncErr := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.device.fail("close stream", errClosed)
	}
	s.closed = true
	s.device.mu.Lock()
	delete(s.device.streams, s)
	s.device.mu.Unlock()
	if err := s.device.do(s.handle.Destroy); err != nil {
		return errors.Join(syncErr, s.device.fail("destroy stream", err))
	}
	return syncErr
}

// use runs f, which uses the handle, unless the stream is closed.
func (s *stream) use(f func() error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	return s.device.do(f)
}
