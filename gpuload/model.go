package gpuload

import (
	"errors"
	"io"

	"weightfs/gpuload/safetensors"
)

// Tensor is a loaded tensor: a view of a device's memory, valid until its
// model is closed. It is immutable and safe for concurrent use.
type Tensor struct {
	safetensors.Tensor
	file   *File
	offset int64
	memory Memory // nil where the tensor has no bytes
	at     int64
}

// File is where the tensor came from.
func (t *Tensor) File() *File { return t.file }

// Offset is where the tensor begins in its file, in bytes.
func (t *Tensor) Offset() int64 { return t.offset }

// Addr is the tensor's address on the device, a multiple of 16, and of 256 where
// the tensor has more than 4 KiB; 0 for a tensor without bytes.
func (t *Tensor) Addr() uintptr {
	if t.memory == nil {
		return 0
	}
	return t.memory.Addr() + uintptr(t.at)
}

// Memory is the allocation that holds the tensor, and where in it; nil for a
// tensor without bytes. The model owns it.
func (t *Tensor) Memory() (m Memory, at int64) { return t.memory, t.at }

// Open reads the tensor back from the device.
func (t *Tensor) Open() io.Reader {
	if t.memory == nil {
		return eof{}
	}
	return io.NewSectionReader(t.memory, t.at, t.Size())
}

// eof is the content of a tensor without bytes.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Model is the tensors of a finished load and the device memory they lie in.
// Safe for concurrent use, but for Close.
type Model struct {
	tensors []*Tensor
	byName  map[string]*Tensor
	memory  []Memory
	stats   Stats
}

// Tensors are in the order of the files and of their data. The caller must not
// change the slice.
func (m *Model) Tensors() []*Tensor { return m.tensors }

// Tensor finds one by its name.
func (m *Model) Tensor(name string) (*Tensor, bool) {
	t, ok := m.byName[name]
	return t, ok
}

// Memory is the allocations of the model: one or a few for each large file, and
// for small files one that many share. The caller must not change the slice.
func (m *Model) Memory() []Memory { return m.memory }

// Stats says how the load went.
func (m *Model) Stats() Stats { return m.stats }

// Close frees the device memory; the tensors must not be used any more.
func (m *Model) Close() error {
	var errs []error
	for _, memory := range m.memory {
		errs = append(errs, memory.Free())
	}
	m.memory = nil
	return errors.Join(errs...)
}
