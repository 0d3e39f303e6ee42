package gpuload_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// Weight is what a kernel needs to know of a tensor: where it is on the device,
// and what is there.
type Weight struct {
	Addr  uintptr
	DType safetensors.DType
	Shape []uint64
}

// Server is an inference server with a model. Close it after the last request.
type Server struct {
	device  gpuload.Device
	model   *gpuload.Model
	weights map[string]Weight
}

// NewServer loads the model at source: a folder, mounted or not, or
// s3://BUCKET/PREFIX. Each tensor goes to warmUp as soon as it is on the device,
// while the rest is still being read.
func NewServer(ctx context.Context, source string, warmUp func(name string, w Weight) error) (_ *Server, err error) {
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{}) // or cuda.Open(0, cuda.Config{})
	if err != nil {
		return nil, err
	}
	s := &Server{device: dev, weights: make(map[string]Weight)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	src, err := gpuload.OpenSource(ctx, gpuload.SourceConfig{}, source)
	if err != nil {
		return nil, err
	}
	defer src.Close() // a source is only needed while loading

	model, err := gpuload.Load(ctx, dev, src, gpuload.Options{
		MemoryLimit: 1 << 30, // of staging
		Deliver: func(t *gpuload.Tensor) error { // one call at a time
			s.weights[t.Name] = Weight{Addr: t.Addr(), DType: t.DType, Shape: t.Shape}
			return warmUp(t.Name, s.weights[t.Name])
		},
	})
	if err != nil {
		return nil, err
	}
	s.model = model
	return s, nil
}

// Weight is a tensor of the model by its name.
func (s *Server) Weight(name string) (Weight, bool) {
	w, ok := s.weights[name]
	return w, ok
}

// Close frees the model's memory, and everything else on the device.
func (s *Server) Close() error {
	if s.model == nil {
		return s.device.Close()
	}
	return errors.Join(s.model.Close(), s.device.Close())
}

// An inference server loads a model, is handed each tensor as soon as it is on
// the device, and finds them by name, with address, dtype and shape.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := encode([]content{
		{"embed.weight", safetensors.BF16, []uint64{1024, 64}},
		{"layers.0.norm.weight", safetensors.F32, []uint64{64}},
	})
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), file, 0o600); err != nil {
		panic(err)
	}
	layers := 0
	server, err := NewServer(context.Background(), dir, func(name string, _ Weight) error {
		if strings.HasPrefix(name, "layers.") {
			layers++ // here a server would start to prepare the layer
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	defer server.Close()

	w, ok := server.Weight("embed.weight")
	fmt.Println(w.DType, w.Shape, "aligned:", w.Addr%2 == 0, ok)
	fmt.Println(server.model.Stats().Bytes, "bytes,", layers, "tensor of layers")
	// Output:
	// BF16 [1024 64] aligned: true true
	// 131328 bytes, 1 tensor of layers
}
