package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// step is the length of one read.
const step = 1 << 20

// handle is an open file.
type handle struct {
	file   *os.File
	random bool   // without readahead
	mapped []byte // nil where it is not
	soFar  hash.Hash
	pos    int64 // what next has read
}

func open(o order) (*handle, error) {
	flags := os.O_RDONLY
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(o.Path, flags, 0)
	if errors.Is(err, syscall.EINVAL) { // what the kernel says of directories
		f, err = os.Open(o.Path)
	}
	if err != nil {
		return nil, err
	}
	h := &handle{file: f, random: o.Random, soFar: sha256.New()}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = syscall.EISDIR
	}
	if err == nil && o.Random {
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)
	}
	if err == nil && o.Mapped {
		h.mapped, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return h, nil
}

func (h *handle) do(o order) (answer, error) {
	switch o.Op {
	case "read":
		data := make([]byte, o.Size)
		n, err := h.file.ReadAt(data, o.Offset)
		if err != nil && err != io.EOF {
			return answer{}, err
		}
		return digest(data[:n]), nil
	case "map":
		return h.mapAt(o.Offset, o.Size)
	case "next":
		return h.next(o.Size)
	case "drop":
		return answer{}, unix.Fadvise(int(h.file.Fd()), 0, 0, unix.FADV_DONTNEED)
	case "close":
		return answer{}, errors.Join(unmap(h.mapped), h.file.Close())
	}
	return answer{}, fmt.Errorf("unknown order %q", o.Op)
}

// mapAt reads up to the end of the file by a mapping of all of it.
func (h *handle) mapAt(off, size int64) (answer, error) {
	info, err := h.file.Stat()
	if err != nil {
		return answer{}, err
	}
	size = min(size, info.Size()-off)
	if size <= 0 {
		return digest(nil), nil
	}
	data, err := unix.Mmap(int(h.file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return answer{}, err
	}
	defer unmap(data) // nothing can be lost
	if h.random {
		if err := unix.Madvise(data, unix.MADV_RANDOM); err != nil {
			return answer{}, err
		}
	}
	sum := sha256.New()
	if !touch(sum, data[off:off+size]) {
		return answer{}, errSIGBUS
	}
	return answer{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// next reads up to the end of the file.
func (h *handle) next(size int64) (answer, error) {
	if h.mapped != nil {
		size = min(size, int64(len(h.mapped))-h.pos)
		if !touch(h.soFar, h.mapped[h.pos:h.pos+size]) {
			return answer{}, errSIGBUS
		}
	} else {
		var err error
		if size, err = io.CopyN(h.soFar, struct{ io.Reader }{h.file}, size); err != nil && err != io.EOF {
			return answer{}, err
		}
	}
	h.pos += size
	return answer{Size: h.pos, SHA256: hex.EncodeToString(h.soFar.Sum(nil))}, nil
}

// touch hashes mapped memory, and returns false where a page cannot be had.
func touch(sum hash.Hash, data []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	// Into Go memory first: assembly that faults cannot be recovered everywhere.
	piece := make([]byte, step)
	for low := 0; low < len(data); low += step {
		n := copy(piece, data[low:])
		sum.Write(piece[:n])
	}
	return true
}

func unmap(data []byte) error {
	if data == nil {
		return nil
	}
	return unix.Munmap(data)
}
