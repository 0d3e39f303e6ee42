//go:build cuda

package device

import (
	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

func openGPU(ordinal int) (gpuload.Device, error) {
	dev, err := cuda.Open(ordinal, cuda.Config{})
	if err != nil {
		return nil, err // not dev: a nil *cuda.Device is no nil gpuload.Device
	}
	return dev, dev.Wait() // one thing after the other
}
