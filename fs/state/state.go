// Package state is what a mount's daemon leaves to the one that takes over from
// it: a file of memory, held open by a third process, that is always as its
// owner's last instruction left it.
//
// It has four parts. The handshake: what was agreed with the kernel, byte for
// byte. The slots (slots.go): requests of the kernel that are under way, where
// read(2) puts them. The nodes (nodes.go): which inodes the kernel knows. And
// some numbers that must not be used twice. It says nothing of FUSE beyond the
// first word of a request, which is its length.
//
// A process may die between any two stores, and all of its stores before that
// one are seen by the next. So what is new is written first and published last,
// by one store of one aligned word; counts change by one store too. A sum over
// what does not change finds what is written by a defect.
//
// A nil *File keeps nothing: its methods may be called, and do nothing.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Version is that of the format. A file of another one is refused.
const Version = 2

// The parts of the file, in bytes. Pages that were never written take no memory.
const (
	magic = 0x7766732d73746174 // "wfs-stat"

	handshakeAt  = 4 << 10
	handshakeMax = 2 << 10 // of a request, and of a reply
	slotsAt      = 8 << 10
	// slots is how many requests can be under way and be known after a crash.
	slots    = 2048
	slotSize = 8 << 10 // the least buffer that the kernel takes
	cellsAt  = slotsAt + slots*slotSize
	// cells has room for 1,048,576 nodes whose key, version and target together have
	// 128 bytes.
	cells    = 6 << 19
	cellSize = 64
	// A node's look-ups lie apart, by the Ref of its first cell: they alone change with
	// each look-up, and those of a folder lie in a few lines of the processor's cache.
	lookupsAt = cellsAt + cells*cellSize

	// Size is that of the file, the most memory that it can take.
	Size = lookupsAt + cells*8
)

// ErrVersion says that a file is of another version, or no such file.
var ErrVersion = errors.New("the state is of another version")

// header is the beginning of the file.
type header struct {
	magic      uint64
	version    uint64
	born       int64  // when the file was made, in ns
	generation uint64 // of daemons; counts up
	lastNode   uint64 // the last number given to a node
	lastBack   uint64 // the largest id of a backing file that was recorded
	used       uint64 // cells that were ever used
	slots      uint64 // slots that were ever used
	request    uint32 // length of the handshake's request
	reply      uint32 // length of its reply; 0 while there is none
}

// File is a mapped file of state. Its node methods are for one caller at a time;
// all others are safe for concurrent use.
type File struct {
	memory []byte
	head   *header
	freed  []uint32 // cells that can be used again

	mu      sync.Mutex
	idle    []int  // guarded by mu; slots that nobody has, the last one used last
	pending []Slot // guarded by mu; those that a predecessor left with a request
}

// Create makes an empty file. It is memory: it is gone when nobody has it open.
func Create() (*os.File, error) {
	fd, err := unix.MemfdCreate("weightfs-state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory for the state: %w", err)
	}
	file := os.NewFile(uintptr(fd), "weightfs-state")
	if err = file.Truncate(Size); err == nil {
		h := header{magic: magic, version: Version, born: time.Now().UnixNano(), lastNode: 1}
		_, err = file.WriteAt(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("memory for the state: %w", err), file.Close())
	}
	return file, nil
}

// Open maps a file for a new daemon, the only one to use it from then on. The file
// can be closed. ErrVersion is among the errors, after which nothing has changed.
func Open(file *os.File) (*File, error) {
	f, err := mapped(file, Size, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	f.findSlots()
	atomic.AddUint64(&f.head.generation, 1)
	return f, nil
}

// Glimpse is what can be known of a file while a daemon uses it.
type Glimpse struct {
	Request, Reply []byte // the handshake with the kernel; nil before there was one
	Generation     uint64 // of the daemon
}

// Peek looks at a file, which changes by nothing. ErrVersion is among the errors.
func Peek(file *os.File) (Glimpse, error) {
	f, err := mapped(file, slotsAt, unix.PROT_READ)
	if err != nil {
		return Glimpse{}, err
	}
	request, reply := f.Handshake()
	return Glimpse{slices.Clone(request), slices.Clone(reply), f.Generation()}, f.Close()
}

// mapped maps the first bytes of a file of this version.
func mapped(file *os.File, length, protection int) (*File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if info.Size() != Size {
		return nil, fmt.Errorf("state of %d bytes in place of %d: %w", info.Size(), int64(Size), ErrVersion)
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, length, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the state: %w", err)
	}
	f := &File{memory: memory, head: (*header)(unsafe.Pointer(&memory[0]))}
	if err := f.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// check says whether the file is of this version, and its numbers are possible.
func (f *File) check() error {
	switch h := f.head; {
	case h.magic != magic || h.version != Version:
		return fmt.Errorf("version %d in place of %d: %w", h.version, Version, ErrVersion)
	case h.used > cells || h.slots > slots || h.request > handshakeMax || h.reply > handshakeMax:
		return fmt.Errorf("state with %d cells, %d slots and a handshake of %d and %d bytes: %w", h.used, h.slots, h.request, h.reply, fs.ErrInvalid)
	}
	return nil
}

// Close ends the mapping. Nothing of f may be used from then on.
func (f *File) Close() error {
	if f == nil {
		return nil
	}
	return unix.Munmap(f.memory)
}

// Handshake is what was agreed with the kernel: its request and the reply to it.
// Before there was one, both are nil.
func (f *File) Handshake() (request, reply []byte) {
	if f == nil || atomic.LoadUint32(&f.head.reply) == 0 {
		return nil, nil
	}
	return f.memory[handshakeAt:][:f.head.request:f.head.request], f.memory[handshakeAt+handshakeMax:][:f.head.reply:f.head.reply]
}

// SetHandshake records what was agreed, before the reply is sent.
func (f *File) SetHandshake(request, reply []byte) error {
	if f == nil {
		return nil
	}
	if len(request) > handshakeMax || len(reply) > handshakeMax || len(reply) == 0 {
		return fmt.Errorf("a handshake of %d and %d bytes: %w", len(request), len(reply), fs.ErrInvalid)
	}
	copy(f.memory[handshakeAt:], request)
	copy(f.memory[handshakeAt+handshakeMax:], reply)
	f.head.request = uint32(len(request))
	atomic.StoreUint32(&f.head.reply, uint32(len(reply)))
	return nil
}

// Generation is the number of this daemon, from 1 on; 0 where nothing is kept.
func (f *File) Generation() uint64 {
	if f == nil {
		return 0
	}
	return atomic.LoadUint64(&f.head.generation)
}

// Born is when the file was made.
func (f *File) Born() time.Time { return time.Unix(0, f.head.born) }

// LastNode is the last number that was given to a node.
func (f *File) LastNode() uint64 { return f.head.lastNode }

// SetLastNode records a number before a node has it.
func (f *File) SetLastNode(id uint64) {
	if f != nil {
		f.head.lastNode = id
	}
}

// LastBacking is the largest id of a backing file that was recorded.
func (f *File) LastBacking() int32 { return int32(f.head.lastBack) }
