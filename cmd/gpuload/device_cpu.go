//go:build !cuda

package main

import (
	"fmt"

	"weightfs/gpuload"
)

// builtForCUDA says that openCUDA works.
const builtForCUDA = false

// openCUDA is for the binary that is built for CUDA.
func openCUDA(ordinal int, _ deviceConfig) (gpuload.Device, error) {
	return nil, fmt.Errorf("device cuda:%d: this program was built without CUDA", ordinal)
}
