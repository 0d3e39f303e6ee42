package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
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

// contentRange is a parsed Content-Range header: bytes first to last of total,
// which is -1 where the store does not say.
type contentRange struct{ first, last, total int64 }

// parseContentRange parses "bytes FIRST-LAST/TOTAL"; anything else is
// ErrBadRange.
func parseContentRange(s string) (contentRange, error) {
	var r contentRange
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return r, fmt.Errorf("Content-Range %q: %w", s, ErrBadRange)
	}
	var errs [3]error
	r.first, errs[0] = parseOffset(first)
	r.last, errs[1] = parseOffset(last)
	r.total = -1
	if total != "*" {
		r.total, errs[2] = parseOffset(total)
	}
	if err := errors.Join(errs[:]...); err != nil || r.last < r.first || (r.total >= 0 && r.last >= r.total) {
		return r, fmt.Errorf("Content-Range %q: %w", s, ErrBadRange)
	}
	return r, nil
}

// parseOffset parses decimal digits alone: no sign, no space.
func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
