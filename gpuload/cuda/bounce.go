//go:build cuda

package cuda

import (
	"errors"
	"sync"
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
// copy to pageable memory is slow and the driver would stage it itself. There are
// as many as reads ran at once, each as large as what was read, at most.
type bouncePool struct {
	device *Device
	slots  chan struct{} // one for each read that may begin

	mu   sync.Mutex
	idle []*bounce // guarded by mu; the one used last is the last
}

type bounce struct {
	staging *staging
	stream  *stream
}

func newBouncePool(d *Device) *bouncePool {
	p := &bouncePool{device: d, slots: make(chan struct{}, bounceCount)}
	for range bounceCount {
		p.slots <- struct{}{}
	}
	return p
}

// read fills dst from the device's memory at src and returns how far it came.
func (p *bouncePool) read(dst []byte, src cu.DevicePtr) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if _, ok := <-p.slots; !ok {
		return 0, errors.New("device is closed")
	}
	defer func() { p.slots <- struct{}{} }()
	b, err := p.take(min(bounceSize, len(dst)))
	if err != nil {
		return 0, err
	}
	defer p.put(b)
	n := 0
	for n < len(dst) {
		part := b.staging.Bytes()[:min(b.staging.size, len(dst)-n)]
		if err := b.fill(part, src+cu.DevicePtr(n)); err != nil {
			return n, err
		}
		n += copy(dst[n:], part)
	}
	return n, nil
}

// take returns an idle bounce of so many bytes at least. One that is smaller
// gives way to it.
func (p *bouncePool) take(size int) (*bounce, error) {
	b := p.pop()
	if b != nil && b.staging.size >= size {
		return b, nil
	}
	if b != nil {
		if err := b.free(); err != nil {
			return nil, err
		}
	}
	return p.newBounce(size)
}

func (p *bouncePool) pop() *bounce {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	b := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return b
}

func (p *bouncePool) put(b *bounce) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, b)
}

func (p *bouncePool) newBounce(size int) (*bounce, error) {
	taken, err := p.device.NewStaging(size)
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

func (b *bounce) free() error { return errors.Join(b.stream.Close(), b.staging.Free()) }

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
	for range bounceCount {
		<-p.slots
	}
	close(p.slots)
	var errs []error
	for b := p.pop(); b != nil; b = p.pop() {
		errs = append(errs, b.staging.Free())
	}
	return errors.Join(errs...)
}
