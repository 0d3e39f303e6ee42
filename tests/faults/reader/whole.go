package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// readers is how many parallel has.
const readers = 16

func list(path string) (answer, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return answer{}, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeDir != 0 {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return answer{Names: names}, nil
}

func sequential(path string) (answer, error) {
	f, err := os.Open(path)
	if err != nil {
		return answer{}, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, make([]byte, step))
	return answer{Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

func mapped(path string) (answer, error) {
	h, err := open(order{Path: path})
	if err != nil {
		return answer{}, err
	}
	defer h.file.Close()
	return h.mapAt(0, 1<<62)
}

func parallel(path string) (answer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return answer{}, err
	}
	content := make([]byte, info.Size())
	share := (len(content) + readers - 1) / readers
	var mu sync.Mutex
	var failures []failure
	var group sync.WaitGroup
	for low := 0; low < len(content); low += share {
		group.Go(func() {
			began := time.Now()
			if err := readPart(path, content[low:min(low+share, len(content))], int64(low)); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, failed(began, err))
			}
		})
	}
	group.Wait()
	a := digest(content)
	a.Failures = failures
	return a, nil
}

// readPart fills part from the file at path at off, by a handle of its own.
func readPart(path string, part []byte, off int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for low := 0; low < len(part); low += step {
		piece := part[low:min(low+step, len(part))]
		if _, err := f.ReadAt(piece, off+int64(low)); err != nil {
			return err
		}
	}
	return nil
}
