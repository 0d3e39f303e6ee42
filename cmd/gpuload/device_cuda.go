//go:build cuda

package main

import (
	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

// builtForCUDA says that openCUDA works.
const builtForCUDA = true

// openCUDA opens the GPU of that ordinal.
func openCUDA(ordinal int) (gpuload.Device, error) { return cuda.Open(ordinal) }
