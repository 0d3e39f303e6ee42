package fs

import (
	"errors"
	"fmt"
	"os"
	"sync"

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

// adopt makes the connection of an attachment, whose descriptor is closed in
// children from then on. On an error it is closed.
func adopt(a *Attachment) (*connection, error) {
	c := &connection{dir: a.Dir, fd: a.fd, helper: a.helper, entry: a.entry, gone: make(chan struct{})}
	unix.CloseOnExec(c.fd)
	// Somebody else may have opened it: workers wait in their reads.
	err := unix.SetNonblock(c.fd, false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("descriptor %d of /dev/fuse: %w", c.fd, err), c.close())
	}
	if c.dir == "" {
		return c, nil
	}
	if c.table, err = os.Open(mountTable); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if c.known = c.entry != (mountEntry{}); !c.known {
		if c.entry, c.known, err = mountIn(c.table, c.dir); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if c.known {
		c.aborter, c.noAborter = openControl(c.entry.connection(), "abort", os.O_WRONLY)
	}
	return c, nil
}

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
