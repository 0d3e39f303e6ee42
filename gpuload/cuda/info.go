//go:build cuda

package cuda

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"gorgonia.org/cu"
)

// Info says what a GPU is.
type Info struct {
	// Ordinal is the N of "cuda:N": the driver's numbering, which follows
	// CUDA_VISIBLE_DEVICES.
	Ordinal int
	// Model is the marketing name, "NVIDIA H200".
	Model string
	// PCIBusID is its address, "0000:81:00.0".
	PCIBusID string
	// Memory is its size in bytes.
	Memory int64
	// CUDA is the newest CUDA version that the driver serves, "13.0".
	CUDA string
}

// List is the GPUs that the driver shows, in order of their ordinals. It starts
// the driver; where that fails, as it does where there is no GPU, the error says
// why.
func List() ([]Info, error) {
	if err := startDriver(); err != nil {
		return nil, err
	}
	n, err := cu.NumDevices()
	if err != nil {
		return nil, fmt.Errorf("count GPUs: %w", translate(err))
	}
	infos := make([]Info, n)
	for i := range infos {
		if infos[i], err = describe(i); err != nil {
			return nil, fmt.Errorf("cuda:%d: %w", i, translate(err))
		}
	}
	return infos, nil
}

// String is one line for a person.
func (i Info) String() string {
	return fmt.Sprintf("%s, %s, PCI %s, driver for CUDA %s",
		i.Model, humanize.IBytes(uint64(i.Memory)), i.PCIBusID, i.CUDA)
}

func describe(ordinal int) (Info, error) {
	d, err := cu.GetDevice(ordinal)
	if err != nil {
		return Info{}, err
	}
	info := Info{Ordinal: ordinal, CUDA: version(cu.Version())}
	if info.Model, err = d.Name(); err != nil {
		return Info{}, err
	}
	if info.Memory, err = d.TotalMem(); err != nil {
		return Info{}, err
	}
	if info.PCIBusID, err = pciBusID(d); err != nil {
		return Info{}, err
	}
	return info, nil
}

// version writes 13000 as "13.0".
func version(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }
