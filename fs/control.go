package fs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openControl opens a file of the connection's control directory, such as
// "abort", in the fusectl file system. Where that is not mounted, as in
// containers, it is mounted for us alone and for this one file; that takes
// root.
func openControl(connection, name string, flags int) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join("/sys/fs/fuse/connections", connection, name), flags, 0)
	if err == nil || !os.IsNotExist(err) {
		return file, err
	}
	root, err := mountControl()
	if err != nil {
		return nil, fmt.Errorf("fusectl is not mounted, and cannot be: %w", err)
	}
	defer unix.Close(root)
	name = filepath.Join(connection, name)
	fd, err := unix.Openat(root, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join("fusectl", name), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// mountControl mounts fusectl in no place, and returns a descriptor of its
// root. It is gone when that and all files in it are closed.
func mountControl() (fd int, err error) {
	context, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	fd, err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// control is the value in a file of the connection's control directory, or
// "unknown".
func (c *connection) control(name string) string {
	file, err := openControl(c.entry.connection(), name, os.O_RDONLY)
	if err != nil {
		return "unknown"
	}
	defer file.Close()
	value, err := io.ReadAll(file)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(value))
}

// abort ends the connection: everyone who waits for it gets an error. Of a
// connection that is gone already it does nothing.
func (c *connection) abort() error {
	if c.aborter == nil {
		return fmt.Errorf("abort the connection: %w", cmp.Or(c.noAborter, os.ErrInvalid))
	}
	if _, err := c.aborter.WriteString("1"); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("abort the connection: %w", err)
	}
	return nil
}
