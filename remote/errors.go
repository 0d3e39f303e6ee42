package remote

import (
	"fmt"
	"io/fs"
	"slices"
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
	what := e.op + " " + e.uri
	if e.n > 0 {
		what += fmt.Sprintf(" [%d,%d)", e.off, e.off+e.n)
	}
	var answer []string
	if e.status != 0 {
		answer = append(answer, fmt.Sprintf("HTTP %d", e.status))
	}
	if e.code != "" {
		answer = append(answer, e.code)
	}
	parts := []string{what, strings.Join(answer, " "), e.message}
	for _, err := range e.Unwrap() {
		parts = append(parts, err.Error())
	}
	text := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
	if e.requestID != "" {
		text += fmt.Sprintf(" (request %s)", e.requestID)
	}
	return text
}

func (e *requestError) Unwrap() []error {
	return slices.DeleteFunc([]error{e.sentinel, e.cause}, func(err error) bool { return err == nil })
}
