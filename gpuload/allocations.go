package gpuload

import (
	"errors"
	"sync"
)

const (
	// sharedFile is the largest file that shares an allocation with others. An
	// allocation costs 0.4 ms, in which a GPU copies more than this, and a GPU
	// rounds it up to 2 MiB.
	sharedFile = 8 << 20
	// sharedAlloc is the size of such an allocation, or what the files need if
	// that is less: so large that what is left at its end, less than a file, is
	// little beside it.
	sharedAlloc = 64 << 20
)

// allocations is the device memory of a load: where the layouts of its files go.
// Safe for concurrent use.
type allocations struct {
	device Device

	mu   sync.Mutex
	all  []Memory // guarded by mu
	last Memory   // guarded by mu; the shared one that is filled, nil for none
	used int64    // guarded by mu; bytes of last
	rest int64    // guarded by mu; about what the small files without a place need
}

func newAllocations(dev Device, files []*File) *allocations {
	a := &allocations{device: dev}
	for _, f := range files {
		if f.size <= sharedFile {
			a.rest += align(f.size, largeAlignment)
		}
	}
	return a
}

// place takes memory for each of the layout's allocations, of which small files
// get a piece of one: the layout is moved there. An error comes with the number
// of the allocation that failed.
func (a *allocations) place(f *File, l *layout) (memory []Memory, failed int, err error) {
	if f.size <= sharedFile && len(l.allocs) <= 1 {
		memory, err = a.share(f, l)
		return memory, 0, err
	}
	for i, n := range l.allocs {
		m, err := a.device.Alloc(n)
		if err != nil {
			return nil, i, err
		}
		memory = append(memory, m)
		a.mu.Lock()
		a.all = append(a.all, m)
		a.mu.Unlock()
	}
	return memory, 0, nil
}

// share places a small file.
func (a *allocations) share(f *File, l *layout) ([]Memory, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rest -= align(f.size, largeAlignment)
	if len(l.allocs) == 0 {
		return nil, nil
	}
	n := l.allocs[0]
	at := align(a.used, largeAlignment)
	if a.last == nil || at+n > a.last.Size() {
		m, err := a.device.Alloc(sharedBytes(n, a.rest))
		if errors.Is(err, ErrOutOfMemory) && a.rest > 0 {
			m, err = a.device.Alloc(n) // there may be room for one file and not for many
		}
		if err != nil {
			return nil, err
		}
		a.all = append(a.all, m)
		a.last, at = m, 0
	}
	a.used = at + n
	l.move(at)
	return []Memory{a.last}, nil
}

// sharedBytes is how large to make an allocation that begins with n bytes, where
// the other files need about rest.
func sharedBytes(n, rest int64) int64 {
	if rest == 0 {
		return n
	}
	return max(n, min(align(n, largeAlignment)+rest, sharedAlloc))
}

// free gives all memory back.
func (a *allocations) free() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, m := range a.all {
		errs = append(errs, m.Free())
	}
	a.all = nil
	return errors.Join(errs...)
}
