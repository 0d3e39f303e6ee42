// Package device opens the devices that the loops beside gpuload measure.
package device

import (
	"fmt"

	"weightfs/gpuload"
)

// Open opens cpu or cuda:N, and waits until it can be used. The caller closes it.
func Open(name string) (gpuload.Device, error) {
	if name == "cpu" {
		return gpuload.NewCPU(gpuload.CPUConfig{})
	}
	var ordinal int
	if n, err := fmt.Sscanf(name, "cuda:%d", &ordinal); n != 1 || err != nil {
		return nil, fmt.Errorf("device %q: cpu or cuda:N", name)
	}
	return openGPU(ordinal)
}
