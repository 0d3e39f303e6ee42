package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// order is what the agent is to do, one JSON object a line:
//
//	list    the names in Path, of directories with a slash at the end
//	stat    the size of Path, and whether it is a directory
//	open    open Path, a file, as Handle, past the page cache if Direct
//	read    read Size bytes at Offset of Handle
//	map     read Size bytes at Offset of a mapping of Handle
//	drop    let the kernel forget the pages of Handle
//	close   close Handle
type order struct {
	Op           string
	Path         string
	Handle       int
	Offset, Size int64
	Direct       bool
}

// answer is what came of it, a line too. Errno is "" where nothing failed.
type answer struct {
	Errno  string
	Names  []string
	Size   int64
	Dir    bool
	SHA256 string // of the bytes read
}

// agent does what it is told on standard input, until that ends.
type agent struct{ files map[int]*os.File }

func (a *agent) serve(in io.Reader, out io.Writer) error {
	encoder, decoder := json.NewEncoder(out), json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := a.do(o)
		if err != nil {
			result.Errno = failed(time.Now(), err)[0].Errno
		}
		if err := encoder.Encode(result); err != nil {
			return err
		}
	}
}

func (a *agent) do(o order) (answer, error) {
	switch o.Op {
	case "list":
		return list(o.Path)
	case "stat":
		info, err := os.Stat(o.Path)
		if err != nil {
			return answer{}, err
		}
		return answer{Size: info.Size(), Dir: info.IsDir()}, nil
	case "open":
		return answer{}, a.open(o)
	}
	f, ok := a.files[o.Handle]
	if !ok {
		return answer{}, fmt.Errorf("no handle %d", o.Handle)
	}
	switch o.Op {
	case "read":
		return readAt(f, o.Offset, o.Size)
	case "map":
		return mapAt(f, o.Offset, o.Size)
	case "drop":
		return answer{}, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	case "close":
		delete(a.files, o.Handle)
		return answer{}, f.Close()
	}
	return answer{}, fmt.Errorf("unknown order %q", o.Op)
}

// open opens a file for later orders.
func (a *agent) open(o order) error {
	flags := os.O_RDONLY
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(o.Path, flags, 0)
	if errors.Is(err, syscall.EINVAL) { // what the kernel says of directories
		f, err = os.Open(o.Path)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		f.Close()
		return err
	}
	a.files[o.Handle] = f
	return nil
}

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

// readAt reads up to the end of the file.
func readAt(f *os.File, off, size int64) (answer, error) {
	data := make([]byte, size)
	n, err := f.ReadAt(data, off)
	if err != nil && err != io.EOF {
		return answer{}, err
	}
	return digest(data[:n]), nil
}

// mapAt is readAt by a mapping of the whole file.
func mapAt(f *os.File, off, size int64) (answer, error) {
	info, err := f.Stat()
	if err != nil {
		return answer{}, err
	}
	size = min(size, info.Size()-off)
	if size <= 0 {
		return digest(nil), nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return answer{}, err
	}
	defer unix.Munmap(data) // nothing can be lost
	h := sha256.New()
	if !touch(h, data[off:off+size]) {
		return answer{}, syscall.ESTALE // what a read would say; SIGBUS says nothing
	}
	return answer{Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

func digest(data []byte) answer {
	sum := sha256.Sum256(data)
	return answer{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}
