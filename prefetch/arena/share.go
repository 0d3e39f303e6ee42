package arena

import (
	"os"

	"golang.org/x/sys/unix"
)

// Shared is an arena's memory as other processes may have it. The files stay the
// arena's; Close closes them.
type Shared struct {
	ReadOnly *os.File // cannot be opened anew for writing
	Writable *os.File
	Size     int64
}

// Piece is a range of the arena's memory.
type Piece struct{ Offset, Length int64 }

// Shared is how other processes map the memory, if they can.
func (a *Arena) Shared() (Shared, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.mapped
	return Shared{m.readOnly, m.file, int64(len(m.bytes))}, m.file != nil
}

// Watermark is the end of the memory that was ever used. Another process that
// touches what lies beyond makes it resident, in its own name.
func (a *Arena) Watermark() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(max(a.fresh, a.touched)) * BlockSize
}

// Piece is where some memory of the arena's lies in it.
func (a *Arena) Piece(some []byte) Piece {
	return Piece{int64(uintptr(pointer(some)) - uintptr(pointer(a.memory))), int64(len(some))}
}

// MapShared maps the first size bytes of a [Shared] file in another process, where
// the kernel can back them with huge pages.
func MapShared(fd int, size int64, protection int) ([]byte, error) {
	mapping, err := mapAligned(size, protection, unix.MAP_SHARED, fd)
	if err != nil {
		return nil, err
	}
	adviseHuge(mapping, true)
	return mapping, nil
}

// Unmap ends such a mapping; one of no bytes is none.
func Unmap(mapping []byte) error {
	if len(mapping) == 0 {
		return nil
	}
	return unix.MunmapPtr(pointer(mapping), uintptr(len(mapping)))
}
