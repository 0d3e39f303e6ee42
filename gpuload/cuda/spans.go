//go:build cuda

package cuda

import (
	"cmp"
	"slices"
	"unsafe"
)

// spans is the staging of a device by address. It is not safe for concurrent
// use; the zero value is empty.
type spans struct {
	sorted []span // by start; they do not overlap
}

type span struct {
	start, end uintptr
	staging    *staging
}

func start(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func (s *spans) find(addr uintptr) (int, bool) {
	return slices.BinarySearchFunc(s.sorted, addr, func(s span, addr uintptr) int { return cmp.Compare(s.start, addr) })
}

func (s *spans) add(st *staging) {
	b := st.mapping
	i, _ := s.find(start(b))
	s.sorted = slices.Insert(s.sorted, i, span{start(b), start(b) + uintptr(len(b)), st})
}

// remove forgets the staging whose mapping is b.
func (s *spans) remove(b []byte) {
	if i, ok := s.find(start(b)); ok {
		s.sorted = slices.Delete(s.sorted, i, i+1)
	}
}

// holder is the staging in which b lies as a whole, or nil.
func (s *spans) holder(b []byte) *staging {
	i, ok := s.find(start(b))
	if !ok {
		i--
	}
	if i < 0 || start(b) < s.sorted[i].start || start(b)+uintptr(len(b)) > s.sorted[i].end {
		return nil
	}
	return s.sorted[i].staging
}

func (s *spans) all() []*staging {
	all := make([]*staging, len(s.sorted))
	for i, sp := range s.sorted {
		all[i] = sp.staging
	}
	return all
}
