package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"weightfs/prefetch"
	"weightfs/remote"
)

// openFile is an open handle of one version of a file. It reads that version
// to its end, or gets ESTALE.
type openFile struct {
	node     *node
	obj      remote.Object
	reader   *prefetch.Reader
	progress progress
}

// Open opens a file. It asks the store nothing, but for a file of this host
// that the kernel is to read by itself.
//
// ESTALE for a version known to be gone has the kernel look the name up again,
// in a new listing, and open what it finds: the caller sees nothing of it.
func (t *tree) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	t.counters.opens.Add(1)
	n, entry, ok := t.nodes.node(in.NodeId)
	switch {
	case !ok || n.stale.Load():
		return fuse.Status(syscall.ESTALE)
	case in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY:
		return fuse.EROFS
	case entry.Archived:
		t.failed(in.Pid, "open", entry.Key, 0, remote.ErrArchived)
		return fuse.EACCES
	}
	if t.passthrough != nil {
		status := t.openBacking(cancel, in, n, entry, out)
		if status != fuse.OK {
			return status
		}
	}
	if out.OpenFlags&fuse.FOPEN_PASSTHROUGH == 0 {
		// The pages of a version stay good from one open to the next.
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	out.OpenFlags |= fuse.FOPEN_NOFLUSH // nothing is ever written
	out.Fh = t.lastHandle.Add(1)
	t.files.Store(out.Fh, &openFile{node: n, obj: entry.Object, reader: t.cache.Open(entry.Object), progress: progress{
		opened: time.Now(), pid: in.Pid, kernel: out.OpenFlags&fuse.FOPEN_PASSTHROUGH != 0,
	}})
	t.counters.openFiles.Add(1)
	return fuse.OK
}

// openBacking lets the kernel read the file by itself if it can.
func (t *tree) openBacking(cancel <-chan struct{}, in *fuse.OpenIn, n *node, entry remote.Entry, out *fuse.OpenOut) fuse.Status {
	var outcome backingOutcome
	err := t.patience.wait(cancel, in.Pid, func(ctx context.Context) (err error) {
		out.BackingID, outcome, err = t.passthrough.open(ctx, n, entry.Object)
		return err
	})
	if err != nil {
		if !t.gone(n, entry.Object, err) {
			t.failed(in.Pid, "open", entry.Key, 0, err)
		}
		return fuse.Status(NameErrno(err))
	}
	switch outcome {
	case backingUsed:
		out.OpenFlags |= fuse.FOPEN_PASSTHROUGH
		t.counters.passthroughOpens.Add(1)
	case backingRefused:
		t.counters.passthroughFallbacks.Add(1)
	}
	return fuse.OK
}

// Release ends a handle. The last one of a version drops the fetches that
// nobody waits for: a reader that was killed says nothing else.
func (t *tree) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	handle, ok := t.files.LoadAndDelete(in.Fh)
	if !ok {
		t.releaseOld(in)
		return
	}
	file := handle.(*openFile)
	t.counters.openFiles.Add(-1)
	if err := file.reader.Close(); err != nil {
		t.logger.Warn("cannot close", "file", file.obj.Key, "err", err)
	}
	if t.passthrough != nil {
		t.passthrough.close(file.node)
	}
}

// file is what a READ is of.
func (t *tree) file(in *fuse.ReadIn) (*openFile, syscall.Errno) {
	if handle, ok := t.files.Load(in.Fh); ok {
		return handle.(*openFile), 0
	}
	file, errno := t.openOld(in)
	if errno != 0 {
		return nil, errno
	}
	if other, was := t.files.LoadOrStore(in.Fh, file); was {
		_ = file.reader.Close() // of which nothing was read
		return other.(*openFile), 0
	}
	t.counters.openFiles.Add(1)
	return file, 0
}

// read leases what a READ asks for, to be released by the caller. Fewer bytes
// than asked for mean the end of the file to the kernel, so nothing else is
// answered with fewer.
func (t *tree) read(interrupted <-chan struct{}, in *fuse.ReadIn, file *openFile) (*prefetch.View, syscall.Errno) {
	off := int64(in.Offset)
	n := min(int64(in.Size), file.obj.Size-off)
	if n <= 0 {
		return &prefetch.View{}, 0
	}
	view, err := t.view(interrupted, in.Pid, file, off, int(n))
	if err != nil {
		t.gone(file.node, file.obj, err)
		t.failed(in.Pid, "read", file.obj.Key, off, err)
		return nil, ReadErrno(err)
	}
	t.counters.countRead(n)
	file.progress.count(off, off+n)
	return view, 0
}

// gone tells whether err says that the version obj of n is no longer there. The
// listing that had it is out of date then.
func (t *tree) gone(n *node, obj remote.Object, err error) bool {
	if !errors.Is(err, remote.ErrChanged) {
		return false
	}
	if n.stale.CompareAndSwap(false, true) {
		t.names.Invalidate(parentKey(obj.Key))
	}
	return true
}

// parentKey is the directory of a key; "" is the source.
func parentKey(key string) string {
	return key[:max(strings.LastIndexByte(key, '/'), 0)]
}

// view leases exactly n bytes of file.
func (t *tree) view(interrupted <-chan struct{}, pid uint32, file *openFile, off int64, n int) (*prefetch.View, error) {
	var view *prefetch.View
	err := t.patience.wait(interrupted, pid, func(ctx context.Context) (err error) {
		view, err = file.reader.View(ctx, off, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	if view.Len() != n {
		defer view.Release()
		return nil, fmt.Errorf("%d bytes in place of %d: %w", view.Len(), n, io.ErrUnexpectedEOF)
	}
	return view, nil
}
