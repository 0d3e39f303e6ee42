//go:build cuda

package cuda

import (
	"errors"
	"unsafe"

	"gorgonia.org/cu"
)

const (
	// bounceCount is how many reads back run at once. One copies out of its
	// buffer at a memory copy's speed, so a few fill the bus.
	bounceCount = 4
	// bounceSize is past where the bus's rate levels off.
	bounceSize = 4 << 20
)

// bouncePool is small page-locked buffers that reads back go through, because a
// copy to pageable memory is slow and the driver would stage it itself.
type bouncePool struct {
	device *Device
	// slots holds the idle buffers; nil stands for one not made yet.
	slots chan *bounce
}

type bounce struct {
	staging *staging
	stream  *stream
}

func newBouncePool(d *Device) bouncePool {
	p := bouncePool{device: d, slots: make(chan *bounce, bounceCount)}
	for range bounceCount {
		p.slots <- nil
	}
	return p
}

// read fills dst from the device's memory at src and returns how far it came.
func (p *bouncePool) read(dst []byte, src cu.DevicePtr) (int, error) {
	b, ok := <-p.slots
	if !ok {
		return 0, errors.New("device is closed")
	}
	defer func() { p.slots <- b }()
	if b == nil {
		var err error
		if b, err = p.newBounce(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(dst) {
		part := b.staging.Bytes()[:min(bounceSize, len(dst)-n)]
		if err := b.fill(part, src+cu.DevicePtr(n)); err != nil {
			return n, err
		}
		n += copy(dst[n:], part)
	}
	return n, nil
}

func (p *bouncePool) newBounce() (*bounce, error) {
	taken, err := p.device.NewStaging(bounceSize)
	if err != nil {
		return nil, err
	}
	st := taken.(*staging)
	if err := st.lock(); err != nil {
		return nil, errors.Join(err, st.Free())
	}
	s, err := p.device.NewStream()
	if err != nil {
		return nil, errors.Join(err, st.Free())
	}
	return &bounce{staging: st, stream: s.(*stream)}, nil
}

// fill copies from the device into part of the bounce's staging.
func (b *bounce) fill(part []byte, src cu.DevicePtr) error {
	err := b.stream.use(func() error {
		return cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(part)), src, int64(len(part)), b.stream.handle)
	})
	if err != nil {
		return err
	}
	return b.stream.Sync()
}

// close waits for the reads under way and frees the buffers.
func (p *bouncePool) close() error {
	var errs []error
	for range bounceCount {
		if b := <-p.slots; b != nil {
			errs = append(errs, b.staging.Free())
		}
	}
	close(p.slots)
	return errors.Join(errs...)
}
