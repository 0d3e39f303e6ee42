package remote

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// localBody reads a range of one version of a file.
type localBody struct {
	ctx      context.Context
	f        *os.File
	obj      Object
	pos, end int64
}

// Read keeps what it has read back until the version is seen to be the same: its
// caller may pass the bytes on at once, and may never ask for the error behind
// them.
func (b *localBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.pos == b.end {
		return 0, io.EOF
	}
	n, err := b.f.ReadAt(p[:min(int64(len(p)), b.end-b.pos)], b.pos)
	if err := checkVersion(b.f, b.obj); err != nil {
		return 0, err
	}
	b.pos += int64(n)
	if b.pos == b.end {
		return n, io.EOF
	}
	if err == io.EOF {
		err = fmt.Errorf("read %s at %d: %w", b.f.Name(), b.pos, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (b *localBody) Close() error { return b.f.Close() }

// checkVersion is ErrChanged if the open file is not that version.
func checkVersion(f *os.File, obj Object) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || fileVersion(info) != obj.Version {
		return fmt.Errorf("read %s: %w", f.Name(), ErrChanged)
	}
	return nil
}

// fileObject is the current version of a file.
func fileObject(key string, info fs.FileInfo) Object {
	return Object{Key: key, Size: info.Size(), ModTime: info.ModTime(), Version: fileVersion(info)}
}

// fileVersion is device, inode, size, mtime and ctime: content cannot change
// without the last, within the resolution of the file system's clock.
func fileVersion(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		panic("remote: file information is not from stat(2)")
	}
	b := make([]byte, 0, 80)
	for i, v := range [...]int64{int64(st.Dev), int64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()} {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendInt(b, v, 36)
	}
	return string(b)
}
