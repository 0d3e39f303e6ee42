package remote

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// archivedError is the type of ErrArchived: its own sentinel that is also a
// permission error, so that a caller that knows only io/fs does the right thing.
type archivedError struct{}

func (archivedError) Error() string { return "object is archived: restore it before reading" }

func (archivedError) Unwrap() error { return fs.ErrPermission }

// requestError is one failed request: what was asked of whom, and what came
// back. It unwraps to the sentinel that callers branch on and to the cause.
// It carries nothing that was signed or signs.
type requestError struct {
	op     string // GET, HEAD or LIST
	uri    string
	off, n int64 // the range asked for; n is 0 for requests without one

	status    int // 0 where no response came
	code      string
	message   string
	requestID string
	region    string // where the bucket is, when the store said so
	signer    signer // whose credentials it was made with

	retryAfter time.Duration // as the store asked; 0 where it did not
	sentinel   error         // ErrChanged, fs.ErrNotExist, ...; may be nil
	cause      error         // transport or context error; may be nil
}

func (e *requestError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.op, e.uri)
	if e.n > 0 {
		fmt.Fprintf(&b, " [%d,%d)", e.off, e.off+e.n)
	}
	b.WriteString(":")
	if e.status != 0 {
		fmt.Fprintf(&b, " HTTP %d", e.status)
	}
	if e.code != "" {
		fmt.Fprintf(&b, " %s", e.code)
	}
	for _, part := range []string{e.message, errText(e.sentinel), errText(e.cause)} {
		if part == "" {
			continue
		}
		if !strings.HasSuffix(b.String(), ":") {
			b.WriteString(":")
		}
		fmt.Fprintf(&b, " %s", part)
	}
	if e.requestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.requestID)
	}
	return b.String()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (e *requestError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.sentinel, e.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
