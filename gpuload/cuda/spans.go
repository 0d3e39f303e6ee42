//go:build cuda

package cuda

import (
	"cmp"
	"slices"
	"unsafe"
)

// spans is the staging of a device by address; one that was moved has two spans.
// It is not safe for concurrent use; the zero value is empty.
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

// add has holder find st for what lies in b.
func (s *spans) add(b []byte, st *staging) {
	i, _ := s.find(start(b))
	s.sorted = slices.Insert(s.sorted, i, span{start(b), start(b) + uintptr(len(b)), st})
}

// remove forgets st.
func (s *spans) remove(st *staging) {
	s.sorted = slices.DeleteFunc(s.sorted, func(sp span) bool { return sp.staging == st })
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

// all is each staging once.
func (s *spans) all() []*staging {
	var all []*staging
	for _, sp := range s.sorted {
		if !slices.Contains(all, sp.staging) {
			all = append(all, sp.staging)
		}
	}
	return all
}
