package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"time"

	"weightfs/remote/retry"
)

func TestClassify(t *testing.T) {
	answer := func(op string, status int, code string) error {
		return &requestError{op: op, status: status, code: code, sentinel: sentinelFor(op, status, code)}
	}
	transport := func(err error) error { return &requestError{op: "GET", cause: err} }
	cases := []struct {
		err  error
		want retry.Kind
	}{
		{answer("GET", 500, "InternalError"), retry.Transient},
		{answer("GET", 503, "SlowDown"), retry.Transient},
		{answer("GET", 502, ""), retry.Transient},
		{answer("GET", 501, "NotImplemented"), retry.Final},
		{answer("GET", 429, ""), retry.Transient},
		{answer("GET", 408, ""), retry.Transient},
		{answer("GET", 400, "RequestTimeout"), retry.Transient},
		{answer("GET", 400, "Throttling"), retry.Transient}, // by STS
		{answer("GET", 307, "TemporaryRedirect"), retry.Transient},
		{answer("LIST", 200, ""), retry.Transient},
		{answer("GET", 400, "InvalidArgument"), retry.Final},
		{answer("GET", 400, "ExpiredToken"), retry.Expired},
		{answer("GET", 403, "ExpiredToken"), retry.Expired},
		{answer("GET", 403, "RequestTimeTooSkewed"), retry.Expired},
		{answer("GET", 403, "AccessDenied"), retry.Final},
		{answer("GET", 403, "InvalidObjectState"), retry.Final},
		{answer("HEAD", 403, ""), retry.Final},
		{answer("GET", 401, ""), retry.Final},
		{answer("GET", 404, "NoSuchKey"), retry.Final},
		{answer("HEAD", 404, "NotFound"), retry.Final},
		{answer("GET", 412, "PreconditionFailed"), retry.Final},
		{answer("GET", 416, "InvalidRange"), retry.Final},
		{answer("LIST", 301, "PermanentRedirect"), retry.Final},
		{transport(io.ErrUnexpectedEOF), retry.Transient},
		{transport(syscall.ECONNRESET), retry.Transient},
		{transport(errors.New("http: server closed idle connection")), retry.Transient},
		{transport(&tls.CertificateVerificationError{Err: errors.New("unknown")}), retry.Final},
		{transport(context.Canceled), retry.Final},
		{transport(context.DeadlineExceeded), retry.Transient}, // of an attempt; the request's own ends it anyway
		{transport(fmt.Errorf("HTTP 200: %w", ErrBadRange)), retry.Doubtful},
		{transport(fmt.Errorf("ETag: %w: %w", errDoubtful, ErrChanged)), retry.Doubtful},
		{transport(fmt.Errorf("gone: %w", ErrChanged)), retry.Final},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), retry.Transient},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, retry.Transient},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, retry.Final},
		{ErrArchived, retry.Final},
		{fs.ErrInvalid, retry.Final},
	}
	for _, c := range cases {
		if got := classify(c.err); got != c.want {
			t.Errorf("classify(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestSentinels(t *testing.T) {
	cases := []struct {
		op     string
		status int
		code   string
		want   error
	}{
		{"GET", 404, "NoSuchKey", ErrChanged},
		{"GET", 412, "PreconditionFailed", ErrChanged},
		{"GET", 416, "InvalidRange", ErrChanged},
		{"HEAD", 404, "NotFound", fs.ErrNotExist},
		{"LIST", 404, "NoSuchBucket", fs.ErrNotExist},
		{"GET", 403, "AccessDenied", fs.ErrPermission},
		{"LIST", 401, "", fs.ErrPermission},
		{"GET", 403, "InvalidObjectState", ErrArchived},
		{"GET", 503, "SlowDown", nil},
		{"LIST", 412, "", nil},
	}
	for _, c := range cases {
		if got := sentinelFor(c.op, c.status, c.code); got != c.want {
			t.Errorf("sentinelFor(%s, %d, %s) = %v, want %v", c.op, c.status, c.code, got, c.want)
		}
	}
	if !errors.Is(ErrArchived, fs.ErrPermission) {
		t.Error("ErrArchived is not fs.ErrPermission")
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Wed, 01 May 2024 12:00:09 GMT": 9 * time.Second,
		"Wed, 01 May 2024 11:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %v, want %v", s, got, want)
		}
	}
}
