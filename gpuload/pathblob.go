package gpuload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"weightfs/remote"
)

// pathBlob is a file of a mounted or local folder, open twice: once through the
// page cache and, where that can be had, once past it by O_DIRECT. Which one
// a part is read by follows from how much of it is cached: through a FUSE mount
// O_DIRECT brought 11 GB/s and the page cache 4; what is cached already comes
// at memory speed.
type pathBlob struct {
	buffered *os.File
	direct   *os.File // nil where O_DIRECT is refused, which file systems do by various errors
	stat     unix.Stat_t
	refused  atomic.Bool // O_DIRECT turned out not to work after all
	mounted  bool        // on a FUSE mount, whose daemon may hold it in a cache of its own
}

// newPathBlob opens f, a regular file which it then owns, once more by what it
// is and not by its name, which may have been given to another meanwhile.
func newPathBlob(f *os.File) (*pathBlob, error) {
	b := &pathBlob{buffered: f}
	if err := fstat(f, &b.stat); err != nil {
		return nil, errors.Join(fmt.Errorf("stat %s: %w", f.Name(), err), f.Close())
	}
	b.mounted = onFUSE(f)
	var err error
	b.direct, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return nil, errors.Join(fmt.Errorf("open %s again: %w", f.Name(), err), f.Close())
	}
	return b, nil
}

// pathOf is the file behind a blob; nil for an object of a store.
func pathOf(b blob) *pathBlob {
	switch b := b.(type) {
	case *pathBlob:
		return b
	case *leaseBlob:
		return b.pathBlob
	}
	return nil
}

func (b *pathBlob) size() int64 { return b.stat.Size }

// unchanged is remote.ErrChanged unless the file is as it was opened.
func (b *pathBlob) unchanged() error {
	var now unix.Stat_t
	if err := fstat(b.buffered, &now); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if now.Size != b.stat.Size {
		return fmt.Errorf("%w: it had %d bytes and has %d", remote.ErrChanged, b.stat.Size, now.Size)
	}
	// The change time too: a copier that writes in place may set the old
	// modification time again. It also moves with the number of links, as when
	// another file takes the name by a rename, which leaves the bytes alone.
	touched := now.Ctim != b.stat.Ctim && now.Nlink == b.stat.Nlink
	if now.Mtim != b.stat.Mtim || touched {
		return fmt.Errorf("%w: it was modified", remote.ErrChanged)
	}
	return nil
}

func (b *pathBlob) read(ctx context.Context, off, n int64) (body, error) {
	direct := b.direct != nil && !b.refused.Load() && !b.cached(off, n)
	return &pathBody{ctx: ctx, blob: b, off: off, direct: direct}, nil
}

// cached tells whether most of [off, off+n) is in the page cache. Where the
// kernel does not say, it is not.
func (b *pathBlob) cached(off, n int64) bool {
	held, err := b.held(off, n)
	return err == nil && held > n/2
}

// held is how many bytes of [off, off+n) are in the page cache.
func (b *pathBlob) held(off, n int64) (int64, error) {
	held, err := heldByCachestat(b.buffered, off, n)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Kernels before 6.5 do not know it, and a container's filter may not.
		return heldByMincore(b.buffered, off, n)
	}
	return held, err
}

// evict makes the kernel forget what it can, and tells whether nothing is left.
func (b *pathBlob) evict() (bool, error) {
	// Pages that were not written yet cannot be forgotten. Where nothing can be
	// written, as on a mount, there are none.
	_ = b.buffered.Sync()
	if err := unix.Fadvise(int(b.buffered.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return false, fmt.Errorf("forget %s: %w", b.buffered.Name(), err)
	}
	held, err := b.held(0, b.stat.Size)
	return err == nil && held == 0, nil
}

// onFUSE tells whether a file is on a FUSE mount.
func onFUSE(f *os.File) bool {
	var stat unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &stat)
	return err == nil && stat.Type == unix.FUSE_SUPER_MAGIC
}

func (b *pathBlob) inMemory() bool { return b.cached(0, b.stat.Size) }

func (b *pathBlob) piece() int64 {
	if b.direct == nil || b.mounted || b.inMemory() {
		return hotPiece
	}
	return largestPiece
}

func (b *pathBlob) readers() int {
	if b.mounted {
		return mountReaders(runtime.GOMAXPROCS(0))
	}
	return pathReaders
}

func (b *pathBlob) joins() bool { return false }

func (b *pathBlob) stream(_ context.Context, off, n int64) (io.ReadCloser, error) {
	return &pathStream{SectionReader: io.NewSectionReader(b.buffered, off, n), blob: b, left: n}, nil
}

func (b *pathBlob) Close() error {
	if b.direct == nil {
		return b.buffered.Close()
	}
	return errors.Join(b.buffered.Close(), b.direct.Close())
}

// pathBody reads a part by pread. A read that the kernel has begun cannot be
// cancelled: ctx is looked at before each.
type pathBody struct {
	ctx    context.Context
	blob   *pathBlob
	off    int64
	direct bool
}

// splits: the kernel cuts an O_DIRECT read into requests. It sends those to a
// disk all at once, and those to a FUSE daemon one after the other.
func (r *pathBody) splits() bool { return r.direct && !r.blob.mounted }

func (r *pathBody) next(buf []byte, n int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	done := 0
	for done < n {
		got, err := r.pread(buf[done:], n-done, r.off+int64(done))
		if err != nil {
			return err
		}
		if got == 0 {
			return r.short(done, n)
		}
		done += got
	}
	r.off += int64(n)
	return r.blob.unchanged()
}

// short is the error of a file that ends early.
func (r *pathBody) short(done, n int) error {
	if err := r.blob.unchanged(); err != nil {
		return err
	}
	return fmt.Errorf("after %d of %d bytes: %w", done, n, io.ErrUnexpectedEOF)
}

// pread reads up to n bytes into buf and returns 0 at the end of the file. It
// falls back to the page cache where O_DIRECT is refused, as by some file
// systems at the first read only, or after a short read that left the rest
// unaligned.
func (r *pathBody) pread(buf []byte, n int, off int64) (int, error) {
	if r.direct && off%pageSize == 0 {
		aligned := (n + pageSize - 1) / pageSize * pageSize
		got, err := pread(r.blob.direct, buf[:aligned], off)
		if err == nil {
			return min(got, n), nil // the tail rounded up: the file may have grown
		}
		if !errors.Is(err, unix.EINVAL) {
			return 0, err
		}
		r.direct = false
		r.blob.refused.Store(true)
	}
	return pread(r.blob.buffered, buf[:n], off)
}

func (r *pathBody) Close() error { return nil }

// pathStream makes a short or changed file an error, no later than with the
// last byte.
type pathStream struct {
	*io.SectionReader
	blob *pathBlob
	left int64
}

func (s *pathStream) Read(p []byte) (int, error) {
	n, err := s.SectionReader.Read(p)
	s.left -= int64(n)
	if s.left > 0 && err != io.EOF {
		return n, err
	}
	if changed := s.blob.unchanged(); changed != nil {
		return 0, changed // io.ReadFull ignores an error beside the last bytes
	}
	if s.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *pathStream) Close() error { return nil }

// pread is pread(2), interrupted or not: the runtime's own signals interrupt
// reads of a FUSE mount.
func pread(f *os.File, buf []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(int(f.Fd()), buf, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func fstat(f *os.File, stat *unix.Stat_t) error {
	for {
		if err := unix.Fstat(int(f.Fd()), stat); err != unix.EINTR {
			return err
		}
	}
}
