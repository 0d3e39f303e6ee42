package main

import (
	"crypto/sha256"
	"hash"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// mapFile maps the file at path.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
}

// touch hashes mapped memory, and returns false where a page cannot be had.
func touch(h hash.Hash, data []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	// Into Go memory first: assembly that faults cannot be recovered everywhere.
	piece := make([]byte, step)
	for low := 0; low < len(data); low += step {
		n := copy(piece, data[low:])
		h.Write(piece[:n])
	}
	return true
}

func mapped(path string) ([]byte, []failure) {
	return mappedParts(path, 1, func(int) error { return nil })
}

// mappedParts maps the file and reads it in parts, before each of which it calls
// next.
func mappedParts(path string, parts int, next func(part int) error) ([]byte, []failure) {
	start := time.Now()
	data, err := mapFile(path)
	if err != nil {
		return nil, failed(start, err)
	}
	h := sha256.New()
	for part := range parts {
		if err := next(part); err != nil {
			return nil, failed(start, err)
		}
		if !touch(h, data[part*len(data)/parts:(part+1)*len(data)/parts]) {
			return nil, []failure{{"SIGBUS", time.Since(start).Seconds()}}
		}
	}
	return h.Sum(nil), nil
}
