//go:build cuda

package main

import (
	"log/slog"

	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

// builtForCUDA says that openCUDA works.
const builtForCUDA = true

// openCUDA opens the GPU of that ordinal.
func openCUDA(ordinal int, logger *slog.Logger) (gpuload.Device, error) {
	dev, err := cuda.Open(ordinal, cuda.Config{Logger: logger})
	if err != nil {
		return nil, err // not dev: a nil *cuda.Device is no nil gpuload.Device
	}
	return dev, nil
}
