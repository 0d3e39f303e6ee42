//go:build !cuda

package device

import (
	"errors"

	"weightfs/gpuload"
)

func openGPU(int) (gpuload.Device, error) {
	return nil, errors.New("built without the tag cuda")
}
