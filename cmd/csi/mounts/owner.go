package mounts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrReplaced says that another driver has the state directory now, as of the pod that
// follows this one's.
var ErrReplaced = errors.New("another driver has taken over from this one")

// owner is the right to change mounts and what is in a state directory. The driver
// that came last has it: a file there is its own. Who works shares that file's lock,
// for which the next driver waits.
type owner struct {
	path string
	file *os.File // open: or the number of its inode could come again
}

// own takes the right from whoever has it, who begins nothing from then on, and
// returns when nothing is under way any more.
func own(dir string) (*owner, error) {
	o := &owner{path: filepath.Join(dir, "owner")}
	before, err := os.Open(o.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("own the state directory: %w", err)
	}
	if before != nil {
		defer before.Close()
	}
	if o.file, err = os.CreateTemp(dir, "owner-"); err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err == nil && before != nil {
		err = lock(before, unix.LOCK_EX)
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("own the state directory: %w", err)
	}
	return o, nil
}

func (o *owner) close() {
	if o.file != nil {
		_ = o.file.Close() // nothing was written
	}
}

// check is ErrReplaced once another driver has the right.
func (o *owner) check() error {
	now, err := os.Stat(o.path)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	ours, err := o.file.Stat()
	if err == nil && !os.SameFile(ours, now) {
		err = ErrReplaced
	}
	return err
}

// begin begins a change, which ends when end is called.
func (o *owner) begin() (end func(), err error) {
	file, err := os.Open(o.path)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err = lock(file, unix.LOCK_SH); err == nil {
		err = o.check() // not before: the next one waits for no other lock
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil // nothing was written
}

// lock takes a lock of flock(2), and waits for it.
func lock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
