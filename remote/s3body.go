package remote

import (
	"context"
	"io"
)

// s3Body yields exactly the bytes asked for, or an error that names them. It
// adds no copy: a large Read goes to the socket.
type s3Body struct {
	ctx  context.Context // of OpenRange
	rc   io.ReadCloser
	uri  string
	off  int64 // of the next byte
	left int64
}

func (b *s3Body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	// net/http lets go of a cancelled request's connection a moment later.
	if err := context.Cause(b.ctx); err != nil {
		return 0, b.fail(err)
	}
	n, err := b.rc.Read(p[:min(int64(len(p)), b.left)])
	b.off += int64(n)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case err == io.EOF:
		return n, b.fail(io.ErrUnexpectedEOF)
	case err != nil:
		return n, b.fail(err)
	}
	return n, nil
}

func (b *s3Body) Close() error { return b.rc.Close() }

// fail is the error of a body or answer that is not what was asked for.
func (b *s3Body) fail(cause error) error {
	return &requestError{op: "GET", uri: b.uri, off: b.off, n: b.left, cause: cause}
}
