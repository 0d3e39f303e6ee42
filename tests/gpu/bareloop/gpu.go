//go:build cuda

package main

import (
	"weightfs/gpuload"
	"weightfs/gpuload/cuda"
)

func openGPU(ordinal int) (gpuload.Device, error) { return cuda.Open(ordinal) }
