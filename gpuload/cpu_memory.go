package gpuload

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is mapped memory; it is the Memory and the Staging of a CPU device.
type mapping struct {
	device *CPU
	charge int64

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
	if err := unix.Munmap(b); err != nil {
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
func (d *CPU) Borrow(memory []byte) ([]Staging, bool) { return []Staging{&borrowed{d, memory}}, true }

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
