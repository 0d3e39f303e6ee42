package gpuload

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// heldByCachestat is how many bytes of [off, off+n) are in the page cache, in
// whole pages.
func heldByCachestat(f *os.File, off, n int64) (int64, error) {
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	return int64(stat.Cache) * int64(os.Getpagesize()), err
}

// heldByMincore is the same, by a mapping that is not touched. The kernel tells
// it to the file's owner and to whoever could write to it, and others that all
// is held: for those it is errors.ErrUnsupported.
func heldByMincore(f *os.File, off, n int64) (int64, error) {
	if n <= 0 {
		return 0, nil
	}
	if err := ownerOrWriter(f); err != nil {
		return 0, err
	}
	page := int64(os.Getpagesize())
	begin := off / page * page
	n += off - begin
	mapping, err := unix.Mmap(int(f.Fd()), begin, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer unix.Munmap(mapping)
	states := make([]byte, (n+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mapping))),
		uintptr(n), uintptr(unsafe.Pointer(unsafe.SliceData(states))))
	if errno != 0 {
		return 0, fmt.Errorf("mincore %s: %w", f.Name(), errno)
	}
	var held int64
	for _, state := range states {
		held += int64(state&1) * page
	}
	return held, nil
}

func ownerOrWriter(f *os.File) error {
	var stat unix.Stat_t
	if err := fstat(f, &stat); err != nil {
		return fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	if me := os.Geteuid(); me == 0 || me == int(stat.Uid) {
		return nil
	}
	if unix.Access(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.W_OK) == nil {
		return nil
	}
	return fmt.Errorf("mincore %s: %w", f.Name(), errors.ErrUnsupported)
}
