package rig

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CachedPages is how many pages of a file the kernel holds.
func CachedPages(f *os.File) (int, error) {
	states, err := pageStates(f)
	cached := 0
	for _, state := range states {
		cached += int(state & 1)
	}
	return cached, err
}

// MissingPages are the offsets, in bytes and in order, of the pages of a file
// that the kernel does not hold.
func MissingPages(f *os.File) ([]int64, error) {
	states, err := pageStates(f)
	var missing []int64
	for i, state := range states {
		if state&1 == 0 {
			missing = append(missing, int64(i)*int64(os.Getpagesize()))
		}
	}
	return missing, err
}

// Evict makes the kernel forget the pages of a file on disk, which f must be open
// to write, and makes sure that it did: on a tmpfs it cannot.
func Evict(f *os.File) error {
	if err := f.Sync(); err != nil { // dirty pages stay
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the pages of %s: %w", f.Name(), err)
	}
	pages, err := CachedPages(f)
	if err == nil && pages > 0 {
		err = fmt.Errorf("%s: %d pages are still cached", f.Name(), pages)
	}
	return err
}

// pageStates has a byte for each page of a file, whose lowest bit says that the
// kernel holds it.
func pageStates(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer unix.Munmap(data)
	states := make([]byte, Pages(info.Size()))
	if err := mincore(data, states); err != nil {
		return nil, fmt.Errorf("mincore %s: %w", f.Name(), err)
	}
	return states, nil
}

// Pages is how many pages a file of n bytes has.
func Pages(n int64) int {
	page := int64(os.Getpagesize())
	return int((n + page - 1) / page)
}

// mincore is the system call, which x/sys has no function for: states[i]&1 says
// whether page i of data is in memory.
func mincore(data, states []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(data))),
		uintptr(len(data)), uintptr(unsafe.Pointer(unsafe.SliceData(states))))
	if errno != 0 {
		return errno
	}
	return nil
}
