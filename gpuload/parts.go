package gpuload

import (
	"sort"
	"sync/atomic"
)

// part is the unit of reading: a range of one file.
type part struct {
	file       int // index of the file
	begin, end int64
}

// parts deals out all parts of all files, in order, from one counter: a single
// large tensor and a thousand small files occupy every reader alike. Parts are
// ranges of files, known from their sizes alone, so that reading starts before
// a header is parsed. Safe for concurrent use.
type parts struct {
	sizes []int64 // of the files
	bytes int64   // of a part
	first []int64 // number of the first part of each file, and of all parts
	next  atomic.Int64
}

func newParts(sizes []int64, bytes int64) *parts {
	p := &parts{sizes: sizes, bytes: bytes, first: make([]int64, len(sizes)+1)}
	for i, size := range sizes {
		p.first[i+1] = p.first[i] + (size+bytes-1)/bytes
	}
	return p
}

// count is the number of parts.
func (p *parts) count() int64 { return p.first[len(p.sizes)] }

// take returns the next part, or false where none is left.
func (p *parts) take() (part, bool) {
	n := p.next.Add(1) - 1
	if n >= p.count() {
		return part{}, false
	}
	file := sort.Search(len(p.sizes), func(i int) bool { return p.first[i+1] > n })
	begin := (n - p.first[file]) * p.bytes
	return part{file: file, begin: begin, end: min(begin+p.bytes, p.sizes[file])}, true
}
