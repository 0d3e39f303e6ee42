package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"weightfs/remote"
)

func TestErrno(t *testing.T) {
	cases := []struct {
		err        error
		name, read syscall.Errno
	}{
		{fs.ErrNotExist, syscall.ENOENT, syscall.ESTALE},
		{remote.ErrChanged, syscall.ESTALE, syscall.ESTALE},
		{errors.Join(remote.ErrChanged, fs.ErrNotExist), syscall.ESTALE, syscall.ESTALE},
		{fs.ErrPermission, syscall.EACCES, syscall.EACCES},
		{remote.ErrArchived, syscall.EACCES, syscall.EACCES},
		{remote.ErrBadRange, syscall.EIO, syscall.EIO},
		{io.ErrUnexpectedEOF, syscall.EIO, syscall.EIO},
		{os.ErrDeadlineExceeded, syscall.EIO, syscall.EIO},
		{context.DeadlineExceeded, syscall.EIO, syscall.EIO},
		{context.Canceled, syscall.EINTR, syscall.EINTR},
		{errors.New("anything else"), syscall.EIO, syscall.EIO},
		{syscall.EAGAIN, syscall.EIO, syscall.EIO},
		{syscall.ENOTSUP, syscall.EIO, syscall.EIO},
	}
	for _, c := range cases {
		wrapped := fmt.Errorf("read k [0,1): %w", c.err)
		if got := NameErrno(wrapped); got != c.name {
			t.Errorf("%v while resolving a name: %v, want %v", c.err, got, c.name)
		}
		if got := ReadErrno(wrapped); got != c.read {
			t.Errorf("%v while reading: %v, want %v", c.err, got, c.read)
		}
	}
}
