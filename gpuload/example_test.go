package gpuload_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// An inference server loads a model and hands each tensor on as soon as it is
// on the device, while the rest is still being read.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := encode([]content{{"embed.weight", safetensors.BF16, []uint64{1024, 64}}, {"norm.weight", safetensors.F32, []uint64{64}}})
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), file, 0o600); err != nil {
		panic(err)
	}
	if err := serve(context.Background(), dir); err != nil {
		panic(err)
	}
	// Output:
	// 2 tensors, 131328 bytes
	// embed.weight BF16 [1024 64]
}

func serve(ctx context.Context, model string) error {
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{}) // or cuda.Open(0)
	if err != nil {
		return err
	}
	defer dev.Close()
	src, err := gpuload.OpenSource(ctx, gpuload.SourceConfig{}, model) // or s3://...
	if err != nil {
		return err
	}
	defer src.Close()

	ready := make(map[string]uintptr) // by name: the address on the device
	m, err := gpuload.Load(ctx, dev, src, gpuload.Options{
		Deliver: func(t *gpuload.Tensor) error {
			ready[t.Name] = t.Addr()
			return nil
		},
	})
	if err != nil {
		return err
	}
	defer m.Close()

	fmt.Println(len(ready), "tensors,", m.Stats().Bytes, "bytes")
	t, ok := m.Tensor("embed.weight")
	if !ok {
		return fmt.Errorf("%s has no embedding", model)
	}
	fmt.Println(t.Name, t.DType, t.Shape)
	return nil
}
