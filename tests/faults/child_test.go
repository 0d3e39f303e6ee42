package faults

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// childName is the name under which the test's binary is a reader: it does to
// files what programs do that know nothing of weightfs, as it is told. Each line of
// standard input is an order, each line of standard output its outcome, both JSON.
// It ends with its input.
const childName = "reader"

const (
	// childStep is the length of one read.
	childStep = 1 << 20
	// childReaders is how many "parallel" has.
	childReaders = 16
)

// order is what to do. Of a path:
//
//	list        the names in it, of directories with a slash at the end
//	stat        its size, and whether it is a directory
//	sequential  read the file from the beginning to the end
//	parallel    have 16 readers with a handle and a part of it each
//	mapped      touch every page of a mapping
//	open        open the file as Handle: past the page cache if Direct, without
//	            readahead if Random, mapped too if Mapped
//
// And of a handle:
//
//	read   Size bytes at Offset
//	map    the same by a mapping of its own
//	next   Size more bytes than so far, by its mapping if it has one
//	drop   let the kernel forget its pages
//	close
type order struct {
	Op                     string
	Path                   string
	Handle                 int
	Offset, Size           int64
	Direct, Random, Mapped bool
}

// outcome is what came of it. gpuload's outcomes are told in the same way.
type outcome struct {
	Failures []string // of each reader the name of an errno, or SIGBUS
	Names    []string
	Size     int64
	Dir      bool
	SHA256   string // of what was read; of next, with all before
	message  string // of gpuload, where it failed
}

// beReader does what in tells, to its end.
func beReader(in io.Reader, out io.Writer) error {
	files := map[int]*openFile{}
	orders, outcomes := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		got, err := obey(o, files)
		if err != nil {
			got.Failures = []string{errnoName(err)}
		}
		if err := outcomes.Encode(got); err != nil {
			return err
		}
	}
}

func obey(o order, files map[int]*openFile) (got outcome, err error) {
	switch o.Op {
	case "list":
		entries, err := os.ReadDir(o.Path)
		for _, e := range entries {
			got.Names = append(got.Names, e.Name()+map[bool]string{true: "/"}[e.IsDir()])
		}
		slices.Sort(got.Names)
		return got, err
	case "stat":
		info, err := os.Stat(o.Path)
		if err == nil {
			got.Size, got.Dir = info.Size(), info.IsDir()
		}
		return got, err
	case "parallel":
		return readParallel(o.Path)
	case "sequential", "mapped":
		f, err := openOf(o)
		if err != nil {
			return got, err
		}
		defer f.close()
		if o.Op == "mapped" {
			return f.mapAt(0, 1<<62)
		}
		return f.next(1 << 62)
	case "open":
		f, err := openOf(o)
		if err == nil {
			files[o.Handle] = f
		}
		return got, err
	}
	f, ok := files[o.Handle]
	if !ok {
		return got, fmt.Errorf("no handle %d", o.Handle)
	}
	if o.Op == "close" {
		delete(files, o.Handle)
	}
	return f.obey(o)
}

// errSIGBUS is the fault of a mapping, in place of the signal.
var errSIGBUS = errors.New("SIGBUS")

// errnoName names the errno of err.
func errnoName(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// readOf is the outcome of reading data.
func readOf(data []byte) outcome {
	sum := sha256.Sum256(data)
	return outcome{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

func readParallel(path string) (got outcome, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return got, err
	}
	content := make([]byte, info.Size())
	share := (len(content) + childReaders - 1) / childReaders
	var mu sync.Mutex
	var failures []string
	var group sync.WaitGroup
	for low := 0; low < len(content); low += share {
		group.Go(func() {
			if err := readPart(path, content[low:min(low+share, len(content))], int64(low)); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, errnoName(err))
			}
		})
	}
	group.Wait()
	got = readOf(content)
	got.Failures = failures
	return got, nil
}

// readPart fills part from the file at path at off, by a handle of its own.
func readPart(path string, part []byte, off int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for low := 0; low < len(part); low += childStep {
		piece := part[low:min(low+childStep, len(part))]
		if _, err := f.ReadAt(piece, off+int64(low)); err != nil {
			return err
		}
	}
	return nil
}

// openFile is a handle of the child's.
type openFile struct {
	file   *os.File
	random bool   // without readahead
	mapped []byte // nil where it is not
	soFar  hash.Hash
	pos    int64 // what next has read
}

func openOf(o order) (*openFile, error) {
	flags := os.O_RDONLY
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	file, err := openUnpolled(o.Path, flags)
	if errors.Is(err, syscall.EINVAL) { // what the kernel says of directories
		file, err = openUnpolled(o.Path, os.O_RDONLY)
	}
	if err != nil {
		return nil, err
	}
	f := &openFile{file: file, random: o.Random, soFar: sha256.New()}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = syscall.EISDIR
	}
	if err == nil && o.Random {
		err = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM)
	}
	if err == nil && o.Mapped {
		f.mapped, err = unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

// openUnpolled opens a file without the runtime's poller, which has an error of its own
// for a file whose daemon has died.
func openUnpolled(path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), path), nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

func (f *openFile) close() error {
	if f.mapped != nil {
		unix.Munmap(f.mapped) // nothing can be lost
	}
	return f.file.Close()
}

func (f *openFile) obey(o order) (outcome, error) {
	switch o.Op {
	case "read":
		data := make([]byte, o.Size)
		n, err := f.file.ReadAt(data, o.Offset)
		if err != nil && err != io.EOF {
			return outcome{}, err
		}
		return readOf(data[:n]), nil
	case "map":
		return f.mapAt(o.Offset, o.Size)
	case "next":
		return f.next(o.Size)
	case "drop":
		return outcome{}, unix.Fadvise(int(f.file.Fd()), 0, 0, unix.FADV_DONTNEED)
	case "close":
		return outcome{}, f.close()
	}
	return outcome{}, fmt.Errorf("unknown order %q", o.Op)
}

// mapAt reads up to the end of the file by a mapping of all of it.
func (f *openFile) mapAt(off, size int64) (outcome, error) {
	info, err := f.file.Stat()
	if err != nil {
		return outcome{}, err
	}
	size = min(size, info.Size()-off)
	if size <= 0 {
		return readOf(nil), nil
	}
	data, err := unix.Mmap(int(f.file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return outcome{}, err
	}
	defer unix.Munmap(data) // nothing can be lost
	if f.random {
		if err := unix.Madvise(data, unix.MADV_RANDOM); err != nil {
			return outcome{}, err
		}
	}
	sum := sha256.New()
	if !touch(sum, data[off:off+size]) {
		return outcome{}, errSIGBUS
	}
	return outcome{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// next reads up to the end of the file.
func (f *openFile) next(size int64) (outcome, error) {
	if f.mapped != nil {
		size = min(size, int64(len(f.mapped))-f.pos)
		if !touch(f.soFar, f.mapped[f.pos:f.pos+size]) {
			return outcome{}, errSIGBUS
		}
	} else {
		var err error
		size, err = io.CopyBuffer(f.soFar, io.LimitReader(f.file, size), make([]byte, childStep))
		if err != nil {
			return outcome{}, err
		}
	}
	f.pos += size
	return outcome{Size: f.pos, SHA256: hex.EncodeToString(f.soFar.Sum(nil))}, nil
}

// touch hashes mapped memory, and returns false where a page cannot be had.
func touch(sum hash.Hash, data []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	// Into Go memory first: assembly that faults cannot be recovered everywhere.
	piece := make([]byte, childStep)
	for low := 0; low < len(data); low += childStep {
		n := copy(piece, data[low:])
		sum.Write(piece[:n])
	}
	return true
}
