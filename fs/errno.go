package fs

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"weightfs/remote"
)

// errnoRule gives the errno for errors that are target: while a name is
// resolved or a file opened, and while an open file is read.
type errnoRule struct {
	target     error
	name, read syscall.Errno
}

// errnoTable holds every errno that a failed request may get, but for EIO,
// which is the answer to everything else: transport errors, time-outs and
// short bodies after all retries. The first match counts.
//
// EINTR ends the read of a task that is being killed and of nobody else:
// programs with timers, or written in Go, take it for a failure.
func errnoTable() []errnoRule {
	return []errnoRule{
		{context.Canceled, syscall.EINTR, syscall.EINTR},
		{remote.ErrChanged, syscall.ESTALE, syscall.ESTALE},
		{fs.ErrNotExist, syscall.ENOENT, syscall.ESTALE},
		{fs.ErrPermission, syscall.EACCES, syscall.EACCES},
	}
}

// NameErrno is the errno for err while a name is resolved, a directory is
// listed or a file is opened.
func NameErrno(err error) syscall.Errno {
	for _, rule := range errnoTable() {
		if errors.Is(err, rule.target) {
			return rule.name
		}
	}
	return syscall.EIO
}

// ReadErrno is the errno for err while an open file is read.
func ReadErrno(err error) syscall.Errno {
	for _, rule := range errnoTable() {
		if errors.Is(err, rule.target) {
			return rule.read
		}
	}
	return syscall.EIO
}
