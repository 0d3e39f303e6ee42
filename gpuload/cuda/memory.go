//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"gorgonia.org/cu"

	"weightfs/gpuload"
)

// memory is one allocation of the driver.
type memory struct {
	device *Device
	addr   cu.DevicePtr
	size   int64
	freed  atomic.Bool
}

// Alloc takes n bytes of the GPU's memory, aligned to 512 bytes by the driver.
func (d *Device) Alloc(n int64) (gpuload.Memory, error) {
	attempt := fmt.Sprintf("allocate %d bytes", n)
	if n < 1 {
		return nil, d.fail(attempt, errors.New("size must be at least 1"))
	}
	if n > d.info.Memory {
		return nil, d.fail(attempt, d.outOfMemory())
	}
	m := &memory{device: d, size: n}
	err := d.do(func() (err error) {
		m.addr, err = cu.MemAlloc(n)
		return err
	})
	if err == outOfMemory {
		return nil, d.fail(attempt, d.outOfMemory())
	}
	if err != nil {
		return nil, d.fail(attempt, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memories[m] = struct{}{}
	return m, nil
}

// outOfMemory is ErrOutOfMemory with what is free. Other processes' memory
// counts as used, and may be why.
func (d *Device) outOfMemory() error {
	var free, total int64
	err := d.do(func() (err error) {
		free, total, err = cu.MemInfo()
		return err
	})
	if err != nil {
		return errors.Join(gpuload.ErrOutOfMemory, err)
	}
	return fmt.Errorf("%w: %d bytes (%s) of %s are free, counting all processes",
		gpuload.ErrOutOfMemory, free, humanize.IBytes(uint64(free)), humanize.IBytes(uint64(total)))
}

func (m *memory) Addr() uintptr { return uintptr(m.addr) }

func (m *memory) Size() int64 { return m.size }

// ReadAt copies from the device into p, by way of page-locked memory. As many
// calls run at once as there are bounce buffers.
func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	attempt := fmt.Sprintf("read [%d,%d) of %d bytes", off, off+int64(len(p)), m.size)
	switch {
	case m.freed.Load():
		return 0, m.device.fail(attempt, errFreed)
	case off < 0:
		return 0, m.device.fail(attempt, errors.New("negative offset"))
	case off > m.size:
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), m.size-off)]
	n, err := m.device.bounces.read(want, m.addr+cu.DevicePtr(off))
	if err != nil {
		return n, m.device.fail(attempt, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) Free() error {
	if m.freed.Swap(true) {
		return m.device.fail("free memory", errFreed)
	}
	m.device.mu.Lock()
	delete(m.device.memories, m)
	m.device.mu.Unlock()
	err := m.device.do(func() error { return cu.MemFree(m.addr) })
	if err != nil {
		return m.device.fail(fmt.Sprintf("free %d bytes", m.size), err)
	}
	return nil
}

// errFreed is what memory and staging answer after Free.
var errFreed = errors.New("already freed")
