package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// memory returns n bytes outside the heap that have been touched.
func memory(n int64) ([]byte, error) {
	data, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("%d bytes of memory: %w", n, err)
	}
	return data, nil
}

// memories are n times so many bytes.
func memories(n int, bytes int64) ([][]byte, error) {
	all := make([][]byte, n)
	for i := range all {
		var err error
		if all[i], err = memory(bytes); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Target is where a reader copies what it read once more.
type Target string

// The targets.
const (
	Nowhere Target = ""
	Touched Target = "touched" // memory that was touched before the clock started
	// Fresh is memory that the copy touches first, in huge pages, so that the
	// kernel clears each of them within the time: as gpuload's CPU device has it.
	Fresh Target = "fresh"
)

// memory maps n bytes of the target.
func (t Target) memory(n int64) ([]byte, error) {
	switch t {
	case Nowhere:
		return nil, nil
	case Touched:
		return memory(n)
	case Fresh:
		return freshMemory(n)
	}
	return nil, fmt.Errorf("unknown target %q", t)
}

func freshMemory(n int64) ([]byte, error) {
	data, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		err = unix.Madvise(data, unix.MADV_HUGEPAGE)
	}
	if err != nil {
		return nil, fmt.Errorf("%d bytes of fresh memory: %w", n, err)
	}
	return data, nil
}

// threads runs n readers, each on a thread of its own, to their end. The Go
// runtime lets no more threads run Go code than it is told, and takes one that
// waits in a page fault for one that runs: so it is told of all, or only as many
// as there are processors would read a mapping at once.
func threads(ctx context.Context, n int, read func(ctx context.Context, i int) error) error {
	runtime.GOMAXPROCS(max(n, runtime.GOMAXPROCS(0)))
	group, ctx := errgroup.WithContext(ctx)
	for i := range n {
		group.Go(func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return read(ctx, i)
		})
	}
	return group.Wait()
}

// Way is how a file's bytes are read.
type Way string

// The ways to read.
const (
	Buffered Way = "buffered"
	Direct   Way = "direct" // O_DIRECT
	Mapped   Way = "mapped" // copied from a MAP_PRIVATE mapping
)

// Read reads a whole file once.
type Read struct {
	Path string
	Way  Way
	// Threads read Block bytes at a time, each with a descriptor of its own.
	Threads int
	Block   int64
	// Turns has the threads take blocks from one counter; otherwise each has a
	// contiguous part of the file.
	Turns bool
	// Copy has each byte copied once more to its place in memory of Size, which
	// is the file's.
	Copy Target
	Size int64

	buffers [][]byte
	target  []byte
}

func (r *Read) prepare(context.Context) (err error) {
	if r.buffers, err = memories(r.Threads, r.Block); err == nil {
		r.target, err = r.Copy.memory(r.Size)
	}
	return err
}

func (r *Read) run(ctx context.Context) (Result, error) {
	info, err := os.Stat(r.Path)
	if err != nil {
		return Result{}, err
	}
	blocks := newDivision(info.Size(), r.Block, r.Threads, r.Turns)
	each := make([]int64, r.Threads)
	err = threads(ctx, r.Threads, func(ctx context.Context, i int) error {
		f, err := Open(r.Path, r.Way)
		if err != nil {
			return err
		}
		defer f.close()
		for ctx.Err() == nil {
			off, n := blocks.take(i)
			if n == 0 {
				return nil
			}
			if err := f.Fill(r.buffers[i][:n], off); err != nil {
				return err
			}
			if r.target != nil {
				copy(r.target[off:], r.buffers[i][:n])
			}
			each[i] += n
		}
		return ctx.Err()
	})
	return Result{Bytes: info.Size(), Each: each}, err
}

// division hands out the blocks of a file to threads.
type division struct {
	size, block int64
	turns       bool
	next, end   []atomic.Int64 // by thread; one pair for all in turns
}

func newDivision(size, block int64, threads int, turns bool) *division {
	d := &division{size: size, block: block, turns: turns}
	if turns {
		threads = 1
	}
	d.next, d.end = make([]atomic.Int64, threads), make([]atomic.Int64, threads)
	blocks := (size + block - 1) / block
	for i := range threads {
		d.next[i].Store(blocks * int64(i) / int64(threads) * block)
		d.end[i].Store(min(size, blocks*int64(i+1)/int64(threads)*block))
	}
	return d
}

// take returns the next block for thread i; one of 0 bytes is the end.
func (d *division) take(i int) (off, n int64) {
	if d.turns {
		i = 0
	}
	off = d.next[i].Add(d.block) - d.block
	return off, max(0, min(d.block, d.end[i].Load()-off))
}

// File is an open file and the way to read it.
type File struct {
	*os.File
	Size int64
	data []byte // the mapping, nil otherwise
}

// Open opens a file, which the caller closes.
func Open(path string, way Way) (*File, error) {
	flags := os.O_RDONLY
	if way == Direct {
		flags |= unix.O_DIRECT
	}
	opened, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	f := &File{File: opened}
	info, err := f.Stat()
	if err == nil {
		f.Size = info.Size()
	}
	if err == nil && way == Mapped {
		f.data, err = unix.Mmap(int(f.Fd()), 0, int(f.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), f.Close())
	}
	return f, nil
}

// Fill fills buf from off. O_DIRECT is asked for whole pages, which buf has room
// for.
func (f *File) Fill(buf []byte, off int64) error {
	if f.data != nil {
		copy(buf, f.data[off:])
		return nil
	}
	asked := buf
	if rest := len(buf) % pageSize; rest != 0 && cap(buf) >= len(buf)+pageSize-rest {
		asked = buf[:len(buf)+pageSize-rest]
	}
	for done := 0; done < len(buf); {
		n, err := unix.Pread(int(f.Fd()), asked[done:], off+int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read %s [%d,%d): %w", f.Name(), off, off+int64(len(buf)), err)
		}
		done += n
	}
	return nil
}

func (f *File) close() {
	if f.data != nil {
		unix.Munmap(f.data)
	}
	f.Close()
}

// pageSize is what O_DIRECT wants lengths to be multiples of.
const pageSize = 4096
