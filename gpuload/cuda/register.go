//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"weightfs/gpuload"
)

var _ gpuload.Registrar = (*Device)(nil)

// registered is foreign memory that the driver has page-locked, in ranges that do not
// overlap. The zero value is none.
type registered struct {
	mu     sync.RWMutex
	ranges [][]byte // guarded by mu; by their addresses
}

// address is where memory outside the Go heap begins.
func address(memory []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(memory))) }

// find is the index of the first range that ends behind an address.
func (r *registered) find(at uintptr) int {
	i, _ := slices.BinarySearchFunc(r.ranges, at, func(some []byte, at uintptr) int {
		if address(some)+uintptr(len(some)) <= at {
			return -1
		}
		return 1
	})
	return i
}

// split cuts memory where ranges end: a copy must lie in one. ok is false where some of
// it is in none.
func (r *registered) split(memory []byte) (parts [][]byte, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := r.find(address(memory)); len(memory) > 0; i++ {
		if i == len(r.ranges) || address(r.ranges[i]) > address(memory) {
			return nil, false
		}
		end := address(r.ranges[i]) + uintptr(len(r.ranges[i]))
		n := min(int(end-address(memory)), len(memory))
		parts, memory = append(parts, memory[:n:n]), memory[n:]
	}
	return parts, true
}

func (r *registered) add(memory []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ranges = slices.Insert(r.ranges, r.find(address(memory)), memory)
}

// remove says whether such a range was there.
func (r *registered) remove(memory []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(address(memory))
	if i == len(r.ranges) || address(r.ranges[i]) != address(memory) || len(r.ranges[i]) != len(memory) {
		return false
	}
	r.ranges = slices.Delete(r.ranges, i, i+1)
	return true
}

// Register implements gpuload.Registrar. On x86 the driver wants memory that can be
// written: a mapping that cannot be is "invalid argument". It takes 0.03 to 0.05 s for
// each GiB of touched memory.
func (d *Device) Register(memory []byte) error {
	attempt := fmt.Sprintf("page-lock %d bytes of another process's memory", len(memory))
	err := d.do(func() error { return pageLock(memory) })
	if err == notSupported {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return d.fail(attempt, hostError(err))
	}
	d.foreign.add(memory)
	return nil
}

// Unregister implements gpuload.Registrar.
func (d *Device) Unregister(memory []byte) error {
	if !d.foreign.remove(memory) {
		return nil // the device was closed
	}
	if err := d.do(func() error { return pageUnlock(memory) }); err != nil {
		return d.fail(fmt.Sprintf("unlock %d bytes", len(memory)), err)
	}
	return nil
}

// unregisterAll is for Close.
func (d *Device) unregisterAll() error {
	d.foreign.mu.RLock()
	ranges := slices.Clone(d.foreign.ranges)
	d.foreign.mu.RUnlock()
	var errs []error
	for _, some := range ranges {
		errs = append(errs, d.Unregister(some))
	}
	return errors.Join(errs...)
}

// foreign is memory of another process's as Staging.
type foreign struct {
	device *Device
	bytes  []byte
}

func (f *foreign) Bytes() []byte { return f.bytes }
func (f *foreign) Free() error   { return nil }

// Borrow implements gpuload.Borrower, of what is registered.
func (d *Device) Borrow(memory []byte) (all []gpuload.Staging, ok bool) {
	parts, ok := d.foreign.split(memory)
	for _, some := range parts {
		all = append(all, &foreign{d, some})
	}
	return all, ok
}
