package arena

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func pointer(memory []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(memory)) }

// mapAligned maps size bytes at a multiple of hugePage, where the kernel can back
// it with huge pages. fd is -1 for anonymous memory.
func mapAligned(size int64, protection, flags, fd int) ([]byte, error) {
	space, err := unix.MmapPtr(-1, 0, nil, uintptr(size+hugePage),
		unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	lead := -uintptr(space) % hugePage
	start := unsafe.Add(space, lead)
	if lead > 0 {
		_ = unix.MunmapPtr(space, lead) // of address space alone, as below
	}
	_ = unix.MunmapPtr(unsafe.Add(start, size), hugePage-lead)
	if _, err = unix.MmapPtr(fd, 0, start, uintptr(size), protection, flags|unix.MAP_FIXED|unix.MAP_NORESERVE); err != nil {
		_ = unix.MunmapPtr(start, uintptr(size))
		return nil, err
	}
	return unsafe.Slice((*byte)(start), size), nil
}

// adviseHuge asks for huge pages, or for small ones, and keeps core dumps small.
// Best effort: a kernel without transparent huge pages works, slower.
func adviseHuge(mapping []byte, huge bool) {
	advice := unix.MADV_NOHUGEPAGE
	if huge {
		advice = unix.MADV_HUGEPAGE
	}
	_ = unix.Madvise(mapping, advice)
	_ = unix.Madvise(mapping, unix.MADV_DONTDUMP)
}
