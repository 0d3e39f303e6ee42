//go:build cuda

package main

import (
	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

// builtForCUDA says that openCUDA works.
const builtForCUDA = true

// openCUDA opens the GPU of that ordinal.
func openCUDA(ordinal int, cfg deviceConfig) (gpuload.Device, error) {
	dev, err := cuda.Open(ordinal, cuda.Config{Logger: cfg.logger, AnyNode: !cfg.near})
	if err != nil {
		return nil, err // not dev: a nil *cuda.Device is no nil gpuload.Device
	}
	return dev, nil
}
