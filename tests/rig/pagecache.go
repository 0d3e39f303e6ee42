package rig

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MissingPages are the offsets, in bytes and in order, of the pages of a file
// that the kernel does not hold.
func MissingPages(f *os.File) (missing []int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer unix.Munmap(data)
	page := os.Getpagesize()
	states := make([]byte, (len(data)+page-1)/page) // whose lowest bits say that a page is in memory
	// x/sys has no function for this system call.
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(data))),
		uintptr(len(data)), uintptr(unsafe.Pointer(unsafe.SliceData(states)))); errno != 0 {
		return nil, fmt.Errorf("mincore %s: %w", f.Name(), errno)
	}
	for i, state := range states {
		if state&1 == 0 {
			missing = append(missing, int64(i*page))
		}
	}
	return missing, nil
}

// Evict makes the kernel forget the pages of a file on disk, which f must be open
// to write, and makes sure that it did: on a tmpfs it cannot.
func Evict(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // dirty pages stay
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop the pages of %s: %w", f.Name(), err)
	}
	missing, err := MissingPages(f)
	if err == nil && int64(len(missing)*os.Getpagesize()) < info.Size() {
		err = fmt.Errorf("%s: only %d pages of %d bytes are not cached", f.Name(), len(missing), info.Size())
	}
	return err
}
