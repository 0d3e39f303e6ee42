package main

import (
	"errors"
	"fmt"

	"weightfs/gpuload"
)

// discardDevice is a device whose copies do nothing: loading onto it measures
// the source and the reading alone. Staging and streams are the CPU's.
type discardDevice struct{ gpuload.Device }

func newDiscardDevice() (*discardDevice, error) {
	cpu, err := gpuload.NewCPU(gpuload.CPUConfig{})
	if err != nil {
		return nil, err
	}
	return &discardDevice{cpu}, nil
}

func (d *discardDevice) Name() string     { return "none" }
func (d *discardDevice) Describe() string { return "bytes are read and dropped" }

func (d *discardDevice) Alloc(n int64) (gpuload.Memory, error) { return discardMemory(n), nil }

func (d *discardDevice) NewStream() (gpuload.Stream, error) {
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	return discardStream{s}, nil
}

// discardStream has events and no copies.
type discardStream struct{ gpuload.Stream }

func (discardStream) Copy(gpuload.Memory, int64, gpuload.Staging, int, int) error { return nil }

// discardMemory is so many bytes that are nowhere.
type discardMemory int64

func (m discardMemory) Addr() uintptr { return 0 }
func (m discardMemory) Size() int64   { return int64(m) }
func (m discardMemory) Free() error   { return nil }

func (m discardMemory) ReadAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("read dropped bytes back: %w", errors.ErrUnsupported)
}
