package safetensors

import (
	"errors"
	"strconv"
)

// The reasons for which a file is refused, named after the errors of the
// reference implementation. A [*FormatError] wraps exactly one of them.
var (
	// ErrHeaderTooSmall: the file has fewer than 8 bytes.
	ErrHeaderTooSmall = errors.New("header too small")
	// ErrHeaderTooLarge: the header's length exceeds [MaxHeaderBytes].
	ErrHeaderTooLarge = errors.New("header too large")
	// ErrInvalidHeaderLength: the header would end beyond the file.
	ErrInvalidHeaderLength = errors.New("invalid header length")
	// ErrInvalidHeader: the header is not UTF-8.
	ErrInvalidHeader = errors.New("invalid header")
	// ErrInvalidHeaderDeserialization: the header is not JSON, or not of the
	// schema: an unknown dtype, a negative size, a missing field.
	ErrInvalidHeaderDeserialization = errors.New("invalid header deserialization")
	// ErrInvalidOffset: a tensor does not begin where the one before it ends,
	// or ends before it begins: a hole, an overlap, swapped offsets.
	ErrInvalidOffset = errors.New("invalid offset")
	// ErrValidationOverflow: a tensor's number of bits exceeds 64 bits.
	ErrValidationOverflow = errors.New("validation overflow")
	// ErrMisalignedSlice: a tensor of elements smaller than a byte does not
	// end at a byte.
	ErrMisalignedSlice = errors.New("misaligned slice")
	// ErrTensorInvalidInfo: a tensor's offsets do not span what its shape and
	// dtype need.
	ErrTensorInvalidInfo = errors.New("tensor invalid info")
	// ErrMetadataIncompleteBuffer: the file does not end where its last tensor
	// does: it is truncated, or bytes follow.
	ErrMetadataIncompleteBuffer = errors.New("metadata incomplete buffer")
	// ErrDuplicateKey: a name stands twice in one JSON object. The reference
	// keeps the last and fails later, if at all; the format forbids it.
	ErrDuplicateKey = errors.New("duplicate key")
	// ErrInvalidIndex: a shard index is not UTF-8, not JSON, not of the
	// schema, or names a file outside its folder.
	ErrInvalidIndex = errors.New("invalid shard index")
)

// FormatError says why a header or a shard index is refused.
type FormatError struct {
	// File is the name that the caller gave.
	File string
	// Tensor is the tensor concerned, or "" where it is the file as a whole
	// (and for the tensor whose name is empty).
	Tensor string
	// Kind is one of this package's sentinels.
	Kind error
	// Detail has the numbers that disagree, for a person.
	Detail string
}

// Error names the file, the tensor, the reason and the numbers. Long names
// are cut.
func (e *FormatError) Error() string {
	s := "parse " + e.File + ": "
	if e.Tensor != "" {
		s += "tensor " + quote(e.Tensor) + ": "
	}
	s += e.Kind.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns Kind, for errors.Is.
func (e *FormatError) Unwrap() error { return e.Kind }

// quote makes a name printable and short: names may hold anything and be
// megabytes long.
func quote(name string) string {
	const limit = 200
	if len(name) <= limit {
		return strconv.Quote(name)
	}
	return strconv.Quote(name[:limit]) + "... (" + strconv.Itoa(len(name)) + " bytes)"
}
