//go:build cuda

package cuda

// #cgo LDFLAGS: -lcuda -ldl
// #include "start.h"
import "C"

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"
)

// This file is what gorgonia.org/cu lacks of the driver's interface, and with
// start.c all of the C. The functions want the device's context to be current
// on their thread, as those of cu do.

// result is an error of the driver, a CUresult.
type result C.CUresult

const (
	outOfMemory  = result(C.CUDA_ERROR_OUT_OF_MEMORY)
	notReady     = result(C.CUDA_ERROR_NOT_READY)
	notSupported = result(C.CUDA_ERROR_NOT_SUPPORTED)
)

func (r result) Error() string {
	var text *C.char
	if C.cuGetErrorString(C.CUresult(r), &text) != C.CUDA_SUCCESS {
		return fmt.Sprintf("CUDA error %d", r)
	}
	return fmt.Sprintf("%s (CUDA error %d)", C.GoString(text), r)
}

func check(code C.CUresult) error {
	if code == C.CUDA_SUCCESS {
		return nil
	}
	return result(code)
}

// translate makes a result of cu's error, whose type is not exported and whose
// text is a bare identifier.
func translate(err error) error {
	if v := reflect.ValueOf(err); v.IsValid() && v.Kind() == reflect.Int {
		return result(v.Int())
	}
	return err
}

// startDriver starts the driver, which can take seconds on a host with many GPUs,
// unless that was done. The other functions want it to be started.
func startDriver() error {
	if err := check(C.weightfs_start_driver()); err != nil {
		return fmt.Errorf("the NVIDIA driver does not start: %w", err)
	}
	return nil
}

// in runs f on a thread where ctx is current and returns its error, the
// driver's as a result.
func in(ctx cu.CUContext, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(ctx); err != nil {
		return fmt.Errorf("set context: %w", translate(err))
	}
	return translate(f())
}

// pageLock page-locks b, whole pages outside the Go heap, in place. It is
// notSupported where the driver has such memory of its own alone.
func pageLock(b []byte) error {
	return check(C.cuMemHostRegister(unsafe.Pointer(unsafe.SliceData(b)), C.size_t(len(b)), 0))
}

// pageUnlock undoes pageLock of the same b.
func pageUnlock(b []byte) error {
	return check(C.cuMemHostUnregister(unsafe.Pointer(unsafe.SliceData(b))))
}

// hostMemory is page-locked memory of the driver.
type hostMemory struct {
	base  unsafe.Pointer
	bytes []byte
}

// allocHost takes n bytes, at least 1, that begin at a page. The driver promises
// no alignment for what it carves out of a larger piece.
func allocHost(n int) (*hostMemory, error) {
	page := os.Getpagesize()
	m := &hostMemory{}
	if err := check(C.cuMemHostAlloc(&m.base, C.size_t(n+page), 0)); err != nil {
		return nil, err
	}
	skip := -uintptr(m.base) % uintptr(page)
	m.bytes = unsafe.Slice((*byte)(unsafe.Add(m.base, skip)), n)
	return m, nil
}

func (m *hostMemory) free() error { return check(C.cuMemFreeHost(m.base)) }

// pciBusID is the address of a GPU as the kernel writes it: 0000:81:00.0.
func pciBusID(d cu.Device) (string, error) {
	var text [16]C.char
	if err := check(C.cuDeviceGetPCIBusId(&text[0], C.int(len(text)), C.CUdevice(d))); err != nil {
		return "", err
	}
	return C.GoString(&text[0]), nil
}
