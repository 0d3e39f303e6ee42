package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	fsType = "fuse.weightfs"
	// maxRead is the largest READ, and what every kernel allows. Larger ones gain
	// an O_DIRECT reader a third (5.8 in place of 4.3 GB/s) where root has raised
	// fs.fuse.max_pages_limit, and cost a tiny cache more of its blocks.
	maxRead = 1 << 20
)

// connection is an opened /dev/fuse and where it is mounted.
type connection struct {
	dir    string // absolute; "" where somebody else mounted it
	fd     int
	helper bool     // mounted by fusermount3, which then unmounts too
	table  *os.File // the kernel's table of mounts, for a time without descriptors
	entry  mountEntry
	known  bool // whether entry is
	// aborter is the connection's "abort" file, open from the start: once the
	// connection is gone its number may be that of somebody else's mount. nil
	// where it cannot be opened, for the reason noAborter.
	aborter   *os.File
	noAborter error
	over      sync.Once
	gone      chan struct{} // closed by end
}

// connect mounts at dir, or takes over the descriptor N of a dir /dev/fd/N. The
// descriptors are closed in children. On an error nothing is left mounted.
func connect(dir string, cfg Config) (*connection, error) {
	if n, ok := strings.CutPrefix(dir, "/dev/fd/"); ok {
		fd, err := strconv.Atoi(n)
		if err != nil || fd < 3 {
			return nil, fmt.Errorf("mountpoint %s: want a descriptor of 3 or above", dir)
		}
		return adopt(&connection{fd: fd, gone: make(chan struct{})})
	}
	dir, err := checkMountpoint(dir, cfg.Logger)
	if err != nil {
		return nil, err
	}
	c := &connection{dir: dir, gone: make(chan struct{})}
	c.fd, err = mountDirect(dir, cfg)
	if errors.Is(err, unix.EPERM) {
		c.helper = true
		c.fd, err = mountByHelper(dir, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("mount at %s: %w", dir, err)
	}
	return adopt(c)
}

// adopt completes c, whose fd is a mounted /dev/fuse. It ends the mount if it
// fails.
func adopt(c *connection) (*connection, error) {
	unix.CloseOnExec(c.fd)
	// Somebody else may have opened it: workers wait in their reads.
	err := unix.SetNonblock(c.fd, false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("descriptor %d of /dev/fuse: %w", c.fd, err), c.undo())
	}
	if c.dir == "" {
		return c, nil
	}
	if c.table, err = os.Open(mountTable); err != nil {
		return nil, errors.Join(err, c.undo())
	}
	c.entry, c.known, err = mountIn(c.table, c.dir)
	if err != nil {
		return nil, errors.Join(err, c.undo())
	}
	if c.known {
		c.aborter, c.noAborter = openControl(c.entry.connection(), "abort", os.O_WRONLY)
	}
	return c, nil
}

// undo unmounts and closes a connection that nothing is served over.
func (c *connection) undo() error { return errors.Join(c.detach(), c.close()) }

// close gives up the descriptors, and with them a mount that is still there.
func (c *connection) close() error {
	// Nothing depends on these, which may not be open.
	_ = c.table.Close()
	_ = c.aborter.Close()
	return unix.Close(c.fd)
}

// end notes that the connection is over, aborted or unmounted.
func (c *connection) end() { c.over.Do(func() { close(c.gone) }) }

// unmount takes the mount away if no file is open: unix.EBUSY otherwise, and
// nil if somebody else has done it.
func (c *connection) unmount() error { return c.umount(0) }

// detach takes the mount out of the tree at once. Open files go on.
func (c *connection) detach() error { return c.umount(unix.MNT_DETACH) }

func (c *connection) umount(flags int) error {
	if remains, err := c.remains(); err != nil || !remains {
		return err
	}
	if c.helper {
		return unmountByHelper(c.dir, flags&unix.MNT_DETACH != 0)
	}
	if err := unix.Unmount(c.dir, flags|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", c.dir, err)
	}
	return nil
}

// remains tells whether the mount is still in the tree, where it was made here.
func (c *connection) remains() (bool, error) {
	if c.dir == "" {
		return false, nil
	}
	entry, ok, err := mountIn(c.table, c.dir)
	if errors.Is(err, os.ErrInvalid) || errors.Is(err, os.ErrClosed) { // not adopted yet, or ended
		entry, ok, err = mountAt(c.dir)
	}
	return ok && (!c.known || entry == c.entry), err
}

// checkMountpoint resolves dir to an absolute path without links, and says why
// it cannot be mounted at. A mount of ours there whose daemon is gone is
// cleaned up.
func checkMountpoint(dir string, logger *slog.Logger) (string, error) {
	abs, err := resolveMountpoint(dir)
	if err != nil {
		return "", fmt.Errorf("mountpoint %s: %w", dir, err)
	}
	entry, mounted, err := mountAt(abs)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if err == nil && mounted && entry.fsType == fsType {
		// The kernel may remember attributes of a dead mount; this it must ask.
		err = unix.Statfs(abs, &unix.Statfs_t{})
	}
	switch {
	case mounted && entry.fsType == fsType && errors.Is(err, syscall.ENOTCONN):
		logger.Warn("cleaning up a mount whose daemon is gone", "mountpoint", abs, "source", entry.source)
		if err := (&connection{dir: abs, entry: entry, known: true, helper: os.Geteuid() != 0}).detach(); err != nil {
			return "", fmt.Errorf("mountpoint %s has a dead mount: %w", abs, err)
		}
		return checkMountpoint(abs, logger)
	case err != nil:
		return "", fmt.Errorf("mountpoint %s: %w", dir, bare(err))
	case !info.IsDir():
		return "", fmt.Errorf("mountpoint %s is not a directory", dir)
	case mounted && entry.fsType == fsType:
		return "", fmt.Errorf("mountpoint %s: %s is mounted there already: unmount it, or choose another directory", dir, entry.source)
	}
	if entries, err := os.ReadDir(abs); err == nil && len(entries) > 0 {
		logger.Warn("the mountpoint is not empty: what it holds is hidden while mounted", "mountpoint", abs)
	}
	return abs, nil
}

// resolveMountpoint makes dir absolute and free of links. The last component
// may be a dead mount, which cannot be looked at.
func resolveMountpoint(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, syscall.ENOTCONN) {
		parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	}
	if errors.Is(err, os.ErrNotExist) {
		return "", errors.New("no such directory: create it first")
	}
	return resolved, bare(err)
}

// bare is the cause of a path error, for those who name the path themselves.
func bare(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
