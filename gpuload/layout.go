package gpuload

import (
	"iter"
	"sort"

	"weightfs/gpuload/safetensors"
)

const (
	// smallAlignment is what the address of every tensor is a multiple of: the
	// widest load of a GPU, which kernels of cuBLAS demand of their operands.
	smallAlignment = 16
	// largeAlignment is that of tensors of more than smallTensor bytes, as if
	// each had an allocation of its own. To smaller ones the bytes lost between
	// them would be much.
	largeAlignment = 256
	smallTensor    = 4 << 10
	// maxAlloc is where a file's allocation is cut, at the next tensor end. An
	// allocation costs 0.4 ms whatever its size, so few are enough; 4 GiB keeps
	// a shared or fragmented device usable.
	maxAlloc = 4 << 30
)

// layout says where on the device the bytes of one file go: in the order of
// the file and without a hole, except before a tensor that would be unaligned
// (see alignment).
// It is a pure value, computed from the header alone.
type layout struct {
	allocs   []int64   // size of each allocation in bytes
	segments []segment // in the order of the file, covering the data section
	places   []place   // of each tensor of the header
}

// segment maps the bytes [begin,end) of the file to an allocation.
type segment struct {
	begin, end int64
	alloc      int
	at         int64 // where begin goes
}

// place is where a tensor lies. One without bytes has alloc -1.
type place struct {
	alloc int
	at    int64
}

func newLayout(h *safetensors.Header, maxAlloc int64) *layout {
	l := &layout{places: make([]place, len(h.Tensors))}
	for i, t := range h.Tensors {
		if t.Size() == 0 {
			l.places[i] = place{alloc: -1}
			continue
		}
		l.places[i] = l.add(h.Offset(t), t.Size(), alignment(t), maxAlloc)
	}
	return l
}

// alignment is what the tensor's address must be a multiple of, relative to its
// allocation, which begins at a multiple of largeAlignment.
func alignment(t safetensors.Tensor) int64 {
	if t.Size() > smallTensor {
		return largeAlignment
	}
	return max(smallAlignment, t.DType.Alignment())
}

// add places the next n bytes of the file, which begin at off.
func (l *layout) add(off, n, alignment, maxAlloc int64) place {
	last := len(l.allocs) - 1
	if last < 0 || l.allocs[last] > maxAlloc-min(n, maxAlloc) {
		l.allocs = append(l.allocs, n)
		l.segments = append(l.segments, segment{begin: off, end: off + n, alloc: last + 1})
		return place{alloc: last + 1}
	}
	at := l.allocs[last]
	if at%alignment == 0 {
		l.segments[len(l.segments)-1].end = off + n
	} else {
		at = align(at, alignment)
		l.segments = append(l.segments, segment{begin: off, end: off + n, alloc: last, at: at})
	}
	l.allocs[last] = at + n
	return place{alloc: last, at: at}
}

// align rounds n up to a multiple of to.
func align(n, to int64) int64 { return (n + to - 1) / to * to }

// move moves a layout of one allocation to at, a multiple of largeAlignment, of
// a larger one.
func (l *layout) move(at int64) {
	for i := range l.segments {
		l.segments[i].at += at
	}
	for i := range l.places {
		if l.places[i].alloc >= 0 {
			l.places[i].at += at
		}
	}
}

// held is the range of the file whose tensors lie in that allocation.
func (l *layout) held(alloc int) (begin, end int64) {
	first := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].alloc >= alloc })
	after := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].alloc > alloc })
	return l.segments[first].begin, l.segments[after-1].end
}

// within yields the pieces of the segments that lie in the bytes [begin,end)
// of the file.
func (l *layout) within(begin, end int64) iter.Seq[segment] {
	return func(yield func(segment) bool) {
		first := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].end > begin })
		for _, s := range l.segments[first:] {
			if max(s.begin, begin) >= end {
				return
			}
			skip := max(begin-s.begin, 0)
			piece := segment{begin: s.begin + skip, end: min(s.end, end), alloc: s.alloc, at: s.at + skip}
			if !yield(piece) {
				return
			}
		}
	}
}

// overlapping yields the index in h.Tensors of each tensor with bytes in
// [begin,end) of the file, and how many those are.
func overlapping(h *safetensors.Header, begin, end int64) iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		begin, end := begin-h.DataStart, end-h.DataStart
		first := sort.Search(len(h.Tensors), func(i int) bool { return h.Tensors[i].End > begin })
		for i := first; i < len(h.Tensors) && h.Tensors[i].Begin < end; i++ {
			t := h.Tensors[i]
			n := min(t.End, end) - max(t.Begin, begin)
			if n > 0 && !yield(i, n) {
				return
			}
		}
	}
}
