package safetensors

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// validate sorts the tensors by their data and checks that they fill the data
// section of a file of size bytes, each with what its shape and dtype need.
// The order of the checks is the reference's.
func (h *Header) validate(size int64) error {
	h.sort()
	var end uint64
	for i := range h.Tensors {
		if err := h.Tensors[i].validate(end); err != nil {
			return err
		}
		end = uint64(h.Tensors[i].End)
	}
	// A tensor that passed has fewer than 2^61 bytes, but many may not fit
	// int64 together: compare without adding to end.
	data := size - h.DataStart
	if end == uint64(data) {
		return nil
	}
	// Of a file that ends early, the first tensor of which bytes are missing.
	refusal := &FormatError{Kind: ErrMetadataIncompleteBuffer, Detail: fmt.Sprintf(
		"the tensors have %d bytes, the file has %d after its header", end, data)}
	if cut := slices.IndexFunc(h.Tensors, func(t Tensor) bool { return uint64(t.End) > uint64(data) }); cut >= 0 {
		t := h.Tensors[cut]
		refusal.Tensor = t.Name
		// Of a crafted header, the sum may not fit int64.
		refusal.Detail += fmt.Sprintf("; the tensor's are [%d,%d) of the file's %d",
			uint64(h.DataStart)+uint64(t.Begin), uint64(h.DataStart)+uint64(t.End), size)
	}
	return refusal
}

// sort orders the tensors by (begin, end) and keeps byName in step. Writers
// mostly write that order already.
func (h *Header) sort() {
	byOffsets := func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(uint64(a.Begin), uint64(b.Begin)), cmp.Compare(uint64(a.End), uint64(b.End)))
	}
	if slices.IsSortedFunc(h.Tensors, byOffsets) {
		return
	}
	slices.SortStableFunc(h.Tensors, byOffsets)
	for i := range h.Tensors {
		h.byName[h.Tensors[i].Name] = int32(i)
	}
}

// validate checks a tensor that should begin where the one before it ended.
func (t *Tensor) validate(start uint64) error {
	refuse := func(kind error, format string, args ...any) error {
		return &FormatError{Tensor: t.Name, Kind: kind, Detail: fmt.Sprintf(format, args...)}
	}
	begin, end := uint64(t.Begin), uint64(t.End)
	if begin != start {
		return refuse(ErrInvalidOffset, "begins at %d, where the tensors before it end at %d", begin, start)
	}
	if end < begin {
		return refuse(ErrInvalidOffset, "begins at %d and ends at %d", begin, end)
	}
	total, ok := bitsOf(t.DType, t.Shape)
	if !ok {
		return refuse(ErrValidationOverflow, "%s of shape %s has more than 2^64 bits", t.DType, shapeString(t.Shape))
	}
	if total%8 != 0 {
		return refuse(ErrMisalignedSlice, "%s of shape %s has %d bits", t.DType, shapeString(t.Shape), total)
	}
	if end-begin != total/8 {
		return refuse(ErrTensorInvalidInfo, "%s of shape %s takes %d bytes, where [%d,%d) has %d",
			t.DType, shapeString(t.Shape), total/8, begin, end, end-begin)
	}
	return nil
}

// bitsOf multiplies the shape, from the left, with the width of an element: a
// product that overflows before it meets a 0 overflows.
func bitsOf(d DType, shape []uint64) (n uint64, ok bool) {
	n, ok = 1, true
	for _, dim := range shape {
		if n, ok = multiply(n, dim); !ok {
			return 0, false
		}
	}
	return multiply(n, uint64(d.Bits()))
}

func multiply(a, b uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	return lo, hi == 0
}

// shapeString prints a shape for an error, however many dimensions it has.
func shapeString(shape []uint64) string {
	const limit = 16
	if len(shape) <= limit {
		return fmt.Sprint(shape)
	}
	return fmt.Sprintf("%d... (%d dimensions)", shape[:limit], len(shape))
}
