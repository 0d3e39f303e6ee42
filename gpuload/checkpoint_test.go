package gpuload_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// content is a tensor to be written: its bytes are pseudo-random, and follow
// from its name.
type content struct {
	name  string
	dtype safetensors.DType
	shape []uint64
}

func (c content) bytes() []byte {
	bits := uint64(c.dtype.Bits())
	for _, n := range c.shape {
		bits *= n
	}
	var seed [32]byte
	copy(seed[:], c.name)
	b := make([]byte, bits/8)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// encode writes a safetensors file. The header is padded to an odd length, so
// that nothing is aligned by luck.
func encode(tensors []content) []byte {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets [2]int   `json:"data_offsets"`
	}
	header := make(map[string]entry)
	var data []byte
	for _, c := range tensors {
		begin := len(data)
		data = append(data, c.bytes()...)
		shape := c.shape
		if shape == nil {
			shape = []uint64{}
		}
		header[c.name] = entry{DType: c.dtype.String(), Shape: shape, Offsets: [2]int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	if len(text)%2 == 0 {
		text = append(text, ' ')
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(file, text...), data...)
}

// everyDType has a tensor of each dtype, of odd sizes, scalars, tensors without
// bytes, and one of big bytes.
func everyDType(prefix string, big uint64) []content {
	tensors := []content{{prefix + "big", safetensors.U8, []uint64{big}}}
	for d := safetensors.F4; d <= safetensors.U64; d++ {
		tensors = append(tensors,
			content{prefix + d.String(), d, []uint64{3, 8}},
			content{prefix + d.String() + ".empty", d, []uint64{0, 7}},
			content{prefix + d.String() + ".odd", safetensors.U8, []uint64{uint64(d)*2 + 1}},
		)
		if d.Bits()%8 == 0 {
			tensors = append(tensors, content{prefix + d.String() + ".scalar", d, nil})
		}
	}
	return tensors
}

// write writes a file of the tensors into dir and returns its path.
func write(t testing.TB, dir, name string, tensors []content) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, encode(tensors), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a source for the length of the test.
func open(t testing.TB, args ...string) *gpuload.Source {
	t.Helper()
	src, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, src.Close()) })
	return src
}

// expect compares every tensor of the model, bit for bit.
func expect(t testing.TB, m *gpuload.Model, want []content) {
	t.Helper()
	if len(m.Tensors()) != len(want) {
		t.Errorf("%d tensors, want %d", len(m.Tensors()), len(want))
	}
	for _, c := range want {
		if err := same(m, c); err != nil {
			t.Errorf("tensor %s: %v", c.name, err)
		}
	}
}

func same(m *gpuload.Model, c content) error {
	tensor, ok := m.Tensor(c.name)
	if !ok {
		return fmt.Errorf("is missing")
	}
	if tensor.DType != c.dtype || len(tensor.Shape) != len(c.shape) {
		return fmt.Errorf("is %v %v, want %v %v", tensor.DType, tensor.Shape, c.dtype, c.shape)
	}
	got, err := io.ReadAll(tensor.Open())
	if err != nil {
		return err
	}
	if !bytes.Equal(got, c.bytes()) {
		return fmt.Errorf("has other bytes")
	}
	if tensor.Size() == 0 != (tensor.Addr() == 0) {
		return fmt.Errorf("of %d bytes is at %#x", tensor.Size(), tensor.Addr())
	}
	alignment := uintptr(16)
	if tensor.Size() > 4096 {
		alignment = 256
	}
	if tensor.Addr()%alignment != 0 {
		return fmt.Errorf("of %d bytes at %#x is not aligned to %d", tensor.Size(), tensor.Addr(), alignment)
	}
	return nil
}
