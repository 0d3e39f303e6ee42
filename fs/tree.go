package fs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

// tree answers the kernel's requests. Its methods are called concurrently, and
// the kernel's own names of the operations are theirs.
type tree struct {
	readOnly
	cache       *prefetch.Cache
	names       *names.Cache
	passthrough *passthrough // nil where the store has no files
	owner       owner
	nodes       *table
	patience    patience
	logger      *slog.Logger
	failures    *failureLog
	counters    counters

	firstHandle uint64 // those up to it were given out by the servers before
	lastHandle  atomic.Uint64
	files       sync.Map // of *openFile by handle
	rates       rates    // of the open files
	dirs        sync.Map // of *openDir by handle
}

// String implements fuse.RawFileSystem.
func (t *tree) String() string { return "weightfs" }

// Lookup finds a name in a directory. The kernel remembers the answer, an absence
// too, for as long as it is fresh.
func (t *tree) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	t.counters.lookups.Add(1)
	var answer names.Answer
	errno := t.ask(cancel, in.Pid, in.NodeId, func(ctx context.Context, dir string) (err error) {
		answer, err = t.names.Lookup(ctx, dir, name)
		return err
	})
	switch {
	case errno != 0:
		return fuse.Status(errno)
	case answer.Found:
		t.answer(answer.Entry, timeout(answer), out)
	default:
		out.SetEntryTimeout(timeout(answer)) // node 0: a remembered absence
	}
	return fuse.OK
}

// answer fills out with a node of the kernel's for entry, which is fresh for so
// long.
func (t *tree) answer(entry remote.Entry, fresh time.Duration, out *fuse.EntryOut) {
	out.NodeId = t.nodes.lookup(entry)
	out.Generation = 1 // numbers are not used twice
	out.SetEntryTimeout(fresh)
	out.SetAttrTimeout(lastingTimeout)
	if entry.Kind == remote.KindDir {
		out.SetAttrTimeout(fresh)
	}
	t.owner.fill(entry, &out.Attr)
}

// timeout is how long the kernel may use what says how long it is fresh.
func timeout(what interface {
	Remaining(now time.Time) (time.Duration, bool)
}) time.Duration {
	left, bounded := what.Remaining(time.Now())
	if !bounded {
		return lastingTimeout
	}
	// Some kernels take 0 for their own default.
	return max(left, 1)
}

// ask has fn ask for names in the directory node id.
func (t *tree) ask(cancel <-chan struct{}, pid uint32, id uint64, fn func(ctx context.Context, dir string) error) syscall.Errno {
	_, dir, ok := t.nodes.node(id)
	if !ok {
		return syscall.ESTALE
	}
	err := t.patience.wait(cancel, pid, func(ctx context.Context) error { return fn(ctx, dir.Key) })
	if err == nil {
		return 0
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.failed(pid, "list", dir.Key, 0, err)
	}
	return NameErrno(err)
}

// failed counts and logs a request that gets an errno.
func (t *tree) failed(pid uint32, op, key string, off int64, err error) {
	if errors.Is(err, context.Canceled) {
		t.counters.killed.Add(1)
		return
	}
	errno := NameErrno(err)
	if op == "read" {
		errno = ReadErrno(err)
		t.counters.readErrors.Add(1)
	}
	t.counters.countError(op, errno)
	t.failures.report(pid, op, key, off, err)
}

// Forget implements fuse.RawFileSystem.
func (t *tree) Forget(id, count uint64) { t.nodes.forget(id, count) }

// GetAttr answers from memory: a node is one version, which does not change.
func (t *tree) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	_, entry, ok := t.nodes.node(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(lastingTimeout)
	if entry.Kind == remote.KindDir {
		out.SetTimeout(time.Second)
	}
	t.owner.fill(entry, &out.Attr)
	return fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (t *tree) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	_, entry, ok := t.nodes.node(in.NodeId)
	switch {
	case !ok:
		return nil, fuse.Status(syscall.ESTALE)
	case entry.Kind != remote.KindLink:
		return nil, fuse.EINVAL
	}
	return []byte(entry.Target), fuse.OK
}

// StatFs says nothing of sizes: how much is in a bucket, nobody knows.
func (t *tree) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	*out = fuse.StatfsOut{Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}

// Access implements fuse.RawFileSystem: the kernel has checked the permission
// bits, by default_permissions.
func (t *tree) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// OpenDir implements fuse.RawFileSystem. The directory is listed when it is
// read.
func (t *tree) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.Fh = t.lastHandle.Add(1)
	t.dirs.Store(out.Fh, &openDir{})
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (t *tree) ReleaseDir(in *fuse.ReleaseIn) { t.dirs.Delete(in.Fh) }

// openDir is an open directory: all its reads are of one listing, so that
// nobody sees half of one and half of another.
type openDir struct {
	mu      sync.Mutex
	listing *names.Listing // guarded by mu; nil before the first read
}

// read returns the listing to read from at the offset off: a fresh one at the
// beginning, as rewinddir asks.
func (d *openDir) read(off uint64, list func() (*names.Listing, syscall.Errno)) (*names.Listing, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listing != nil && off > 0 {
		return d.listing, 0
	}
	listing, errno := list()
	if errno == 0 {
		d.listing = listing
	}
	return listing, errno
}

// ReadDir implements fuse.RawFileSystem.
func (t *tree) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.readDir(cancel, in, func(_ *remote.Entry, _ time.Duration, de fuse.DirEntry) bool {
		return out.AddDirEntry(de)
	})
}

// ReadDirPlus is ReadDir with a look-up of each entry, which costs nothing
// here: find and ls -l ask nothing more.
func (t *tree) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.readDir(cancel, in, func(entry *remote.Entry, fresh time.Duration, de fuse.DirEntry) bool {
		space := out.AddDirLookupEntry(de)
		if space != nil && entry != nil {
			t.answer(*entry, fresh, space)
		}
		return space != nil
	})
}

// readDir calls add for the directory's entries from the offset on, first "."
// and ".." without an entry, until it returns false. The entries are fresh for so
// long.
func (t *tree) readDir(cancel <-chan struct{}, in *fuse.ReadIn,
	add func(entry *remote.Entry, fresh time.Duration, de fuse.DirEntry) bool) fuse.Status {
	t.counters.directoryReads.Add(1)
	handle, ok := t.dirs.Load(in.Fh)
	if !ok && t.isOld(in.Fh) { // it goes on in a new listing
		handle, _ = t.dirs.LoadOrStore(in.Fh, &openDir{})
		ok = true
	}
	if !ok {
		return fuse.EBADF
	}
	listing, errno := handle.(*openDir).read(in.Offset, func() (listing *names.Listing, errno syscall.Errno) {
		errno = t.ask(cancel, in.Pid, in.NodeId, func(ctx context.Context, dir string) (err error) {
			listing, err = t.names.List(ctx, dir)
			return err
		})
		return listing, errno
	})
	if errno != 0 {
		return fuse.Status(errno)
	}
	dots := []string{".", ".."}
	fresh := timeout(listing)
	for off := in.Offset; off < uint64(len(dots)+listing.Len()); off++ {
		var entry *remote.Entry
		de := fuse.DirEntry{Mode: syscall.S_IFDIR, Off: off + 1}
		if off < uint64(len(dots)) {
			de.Name = dots[off]
		} else {
			e := listing.Entry(int(off) - len(dots))
			entry = &e
			de.Name = path.Base(e.Key)
			de.Mode = t.owner.mode(e.Kind)
			de.Ino = identityOf(e).inodeNumber()
		}
		if !add(entry, fresh, de) {
			break
		}
	}
	return fuse.OK
}
