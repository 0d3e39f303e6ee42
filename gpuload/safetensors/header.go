package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
)

const (
	// PrefixBytes is the length of the number that every file begins with.
	PrefixBytes = 8
	// MaxHeaderBytes is the longest JSON that the format allows.
	MaxHeaderBytes = 100_000_000
)

// Header is what a file says of its content, validated.
type Header struct {
	// Tensors are in the order of their data. Zero-size tensors at the same
	// offset keep the header's order.
	Tensors []Tensor
	// Metadata is the header's __metadata__, nil if it has none.
	Metadata map[string]string
	// DataStart is the offset in the file, in bytes, at which the data section
	// begins. The file ends where the last tensor does.
	DataStart int64

	byName map[string]int32 // index in Tensors
}

// Tensor is one entry of a header.
type Tensor struct {
	Name  string
	DType DType
	// Shape has the length of each dimension; it is empty for a scalar. A
	// length may exceed int64 if another one is 0.
	Shape []uint64
	// Begin and End are in bytes from the start of the data section.
	Begin, End int64
}

// Size is the tensor's length in bytes: that of its shape and dtype.
func (t Tensor) Size() int64 { return t.End - t.Begin }

// Lookup returns the tensor of that name.
func (h *Header) Lookup(name string) (Tensor, bool) {
	i, ok := h.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return h.Tensors[i], true
}

// Offset is where t begins, in bytes from the start of the file.
func (h *Header) Offset(t Tensor) int64 { return h.DataStart + t.Begin }

// DataSize is the length of the data section in bytes.
func (h *Header) DataSize() int64 {
	if len(h.Tensors) == 0 {
		return 0
	}
	return h.Tensors[len(h.Tensors)-1].End
}

// HeaderLen returns the length of the JSON, which begins at PrefixBytes, from
// the first bytes of a file of size bytes; more than PrefixBytes of them are
// ignored. The name is for the error, a [*FormatError].
func HeaderLen(name string, prefix []byte, size int64) (int64, error) {
	refuse := func(kind error, format string, args ...any) (int64, error) {
		return 0, &FormatError{File: name, Kind: kind, Detail: fmt.Sprintf(format, args...)}
	}
	if size < PrefixBytes || len(prefix) < PrefixBytes {
		return refuse(ErrHeaderTooSmall, "%d bytes, where the header's length takes %d",
			min(size, int64(len(prefix))), PrefixBytes)
	}
	n := binary.LittleEndian.Uint64(prefix)
	if n > MaxHeaderBytes {
		return refuse(ErrHeaderTooLarge, "%d bytes, where %d are allowed", n, MaxHeaderBytes)
	}
	if PrefixBytes+int64(n) > size {
		return refuse(ErrInvalidHeaderLength, "%d bytes of header and %d of prefix, where the file has %d",
			n, PrefixBytes, size)
	}
	return int64(n), nil
}

// Parse validates the JSON header of a file of size bytes. The header is all
// the bytes that [HeaderLen] counted, and may be reused after the return. The
// name is for errors, which are of type [*FormatError].
//
// The memory taken is at most a small multiple of len(header).
func Parse(name string, header []byte, size int64) (*Header, error) {
	var prefix [PrefixBytes]byte
	binary.LittleEndian.PutUint64(prefix[:], uint64(len(header)))
	if _, err := HeaderLen(name, prefix[:], size); err != nil {
		return nil, err
	}
	h, err := parse(header)
	if err == nil {
		h.DataStart = PrefixBytes + int64(len(header))
		err = h.validate(size)
	}
	if err != nil {
		return nil, named(name, ErrInvalidHeaderDeserialization, err)
	}
	return h, nil
}

// Read parses the header of the file of size bytes that r reads, in two reads.
// Errors are of type [*FormatError], or wrap r's.
func Read(name string, r io.ReaderAt, size int64) (*Header, error) {
	prefix := make([]byte, min(max(size, 0), PrefixBytes))
	if err := readFull(name, r, prefix, 0); err != nil {
		return nil, err
	}
	n, err := HeaderLen(name, prefix, size)
	if err != nil {
		return nil, err
	}
	header := make([]byte, n)
	if err := readFull(name, r, header, PrefixBytes); err != nil {
		return nil, err
	}
	return Parse(name, header, size)
}

// readFull fills p. A file that turns out shorter than the size given is
// io.ErrUnexpectedEOF.
func readFull(name string, r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read header of %s [%d,%d): %w", strconv.Quote(name), off, off+int64(len(p)), err)
}
