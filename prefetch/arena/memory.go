package arena

import (
	"os"

	"golang.org/x/sys/unix"
)

// kind says what memory is for.
type kind int

const (
	records   kind = iota // small pages: nothing is resident beside what is touched
	private               // huge pages, of this process alone
	shareable             // huge pages, that other processes can map
)

// hugePage is the alignment that lets the kernel back the arena with huge
// pages: first touch at 8.5 GB/s in place of 2.6.
const hugePage = 2 << 20

// memory is a mapping outside the Go heap, page-aligned. The zero value is none.
type memory struct {
	bytes    []byte
	heap     bool     // race builds: it is Go heap after all
	file     *os.File // what is mapped, open for writing; nil: private
	readOnly *os.File // the same, through a mount that admits no writer
}

// reserve makes at least size bytes of memory that becomes resident page by page,
// when it is first written. It is the one constructor of the arena's backing:
// shareable memory is files that makeFiles makes (tmpfs.go), all other is anonymous.
func reserve(size int64, kind kind, makeFiles func(size int64) (Shared, error)) (memory, error) {
	const page = 4 << 10
	if kind == shareable {
		return reserveFile(roundDown(size+hugePage-1, hugePage), makeFiles)
	}
	return reserveAnonymous(roundDown(size+page-1, page), kind == private)
}

// free gives all of it back.
func (m memory) free() error {
	for _, f := range []*os.File{m.file, m.readOnly} {
		if f != nil {
			_ = f.Close() // nothing is written back
		}
	}
	if m.heap || m.bytes == nil {
		return nil
	}
	return unix.MunmapPtr(pointer(m.bytes), uintptr(len(m.bytes)))
}

// discard gives some of the memory back to the node, which loses its content. A
// page of a file stays, for whoever maps it next, unless it is taken out of there.
func (m memory) discard(some []byte) {
	switch {
	case m.heap:
		poison(some)
	case m.file != nil:
		_ = unix.Madvise(some, unix.MADV_REMOVE)
	default:
		_ = unix.Madvise(some, unix.MADV_DONTNEED)
	}
}

// populate makes some of the memory resident, whatever is in it. Best effort: a
// kernel before 5.14 does not know how.
func (m memory) populate(some []byte) {
	if !m.heap {
		_ = unix.Madvise(some, unix.MADV_POPULATE_WRITE)
	}
}
