package gpuload

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is mapped memory; it is the Memory and the Staging of a CPU device.
type mapping struct {
	device *CPU
	charge int64
	fd     int // of the file in memory; -1 for anonymous memory

	mu    sync.Mutex
	bytes []byte // guarded by mu; nil once freed
}

func (m *mapping) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

func (m *mapping) Addr() uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(m.Bytes())))
}

func (m *mapping) Size() int64 { return int64(len(m.Bytes())) }

func (m *mapping) ReadAt(p []byte, off int64) (int, error) {
	return readAt(m.Bytes(), p, off)
}

// Export returns the path of a file that processes of the same user can open
// and map while this one holds the memory.
func (m *mapping) Export() ([]byte, error) {
	if m.fd < 0 {
		return nil, fmt.Errorf("cpu: export memory of a device that is not shareable: %w", errors.ErrUnsupported)
	}
	return fmt.Appendf(nil, "/proc/%d/fd/%d", os.Getpid(), m.fd), nil
}

func (m *mapping) Free() error {
	m.mu.Lock()
	b := m.bytes
	m.bytes = nil
	m.mu.Unlock()
	if b == nil {
		return errors.New("cpu: memory freed twice")
	}
	m.device.mu.Lock()
	m.device.used -= m.charge
	delete(m.device.mappings, m)
	m.device.mu.Unlock()
	if err := errors.Join(unix.Munmap(b), closeFile(m.fd)); err != nil {
		return fmt.Errorf("cpu: unmap %d bytes: %w", len(b), err)
	}
	return nil
}

// borrowed is memory of somebody else's as Staging.
type borrowed struct {
	device *CPU
	bytes  []byte
}

func (b *borrowed) Bytes() []byte { return b.bytes }

func (b *borrowed) Free() error { return nil }

// Borrow implements Borrower: to the host's processors all memory is alike.
func (d *CPU) Borrow(memory []byte) (Staging, bool) { return &borrowed{d, memory}, true }

// memoryOf is the memory of staging, if it is this device's.
func (d *CPU) memoryOf(src Staging) ([]byte, bool) {
	switch s := src.(type) {
	case *mapping:
		return s.Bytes(), s.device == d
	case *borrowed:
		return s.bytes, s.device == d
	}
	return nil, false
}

// memoryFile makes a file of n bytes in memory.
func memoryFile(n int) (fd int, err error) {
	if fd, err = unix.MemfdCreate("gpuload", unix.MFD_CLOEXEC); err != nil {
		return -1, err
	}
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// closeFile closes fd, unless it is -1.
func closeFile(fd int) error {
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}
