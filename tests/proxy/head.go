package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxHead bounds the head of a message: S3 allows 8 KiB of headers, and query
// strings may be as long again.
const maxHead = 64 << 10

// errHead says that a message is not HTTP as we read it.
var errHead = errors.New("malformed HTTP head")

// Head is the start line and the header fields of a message, in the order and
// spelling in which they came.
type Head struct {
	start  string
	fields []field
}

type field struct{ name, value string }

// readHead reads up to and including the empty line. io.EOF means that the
// peer ended the connection between two messages.
func readHead(r *bufio.Reader) (*Head, error) {
	line, size, err := readLine(r, 0)
	if err != nil {
		return nil, err
	}
	h := &Head{start: line}
	for {
		if line, size, err = readLine(r, size); err != nil {
			return nil, fmt.Errorf("%w: %w", errHead, err)
		}
		if line == "" {
			return h, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errHead
		}
		h.fields = append(h.fields, field{name, strings.Trim(value, " \t")})
	}
}

// readLine returns the next line without its end, and size plus its length.
func readLine(r *bufio.Reader, size int) (string, int, error) {
	line, err := r.ReadString('\n')
	size += len(line)
	if err != nil {
		return "", size, err
	}
	if size > maxHead {
		return "", size, errHead
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), size, nil
}

// Get returns the value of the first field of that name, "" where there is none.
func (h *Head) Get(name string) string {
	for _, f := range h.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// Set replaces the field of that name in its place or adds it at the end; an
// empty value removes it.
func (h *Head) Set(name, value string) {
	kept, done := h.fields[:0], value == ""
	for _, f := range h.fields {
		if !strings.EqualFold(f.name, name) {
			kept = append(kept, f)
		} else if !done {
			kept, done = append(kept, field{f.name, value}), true
		}
	}
	h.fields = kept
	if !done {
		h.fields = append(h.fields, field{name, value})
	}
}

// Status returns the status code of a response, 0 where it has none.
func (h *Head) Status() int {
	_, rest, _ := strings.Cut(h.start, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return 0
	}
	return status
}

// SetStatus changes the status line of a response.
func (h *Head) SetStatus(code int, text string) {
	h.start = fmt.Sprintf("HTTP/1.1 %d %s", code, text)
}

// appendTo appends the head as it goes over the wire.
func (h *Head) appendTo(b []byte) []byte {
	b = append(append(b, h.start...), "\r\n"...)
	for _, f := range h.fields {
		b = append(append(b, f.name...), ": "...)
		b = append(append(b, f.value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// length says how the body after this head ends: at n bytes, or for n < 0 by
// chunks or with the connection.
func (h *Head) length() (n int64, chunked bool, err error) {
	if strings.EqualFold(h.Get("Transfer-Encoding"), "chunked") {
		return -1, true, nil
	}
	value := h.Get("Content-Length")
	if value == "" {
		return -1, false, nil
	}
	if n, err = strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
		return 0, false, fmt.Errorf("%w: Content-Length %q", errHead, value)
	}
	return n, false, nil
}
