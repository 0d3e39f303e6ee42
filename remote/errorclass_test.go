package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"weightfs/remote/retry"
)

func TestClassOf(t *testing.T) {
	answer := func(op string, status int, code string) error {
		return &requestError{op: op, status: status, code: code, sentinel: sentinelFor(op, status, code)}
	}
	transport := func(err error) error { return &requestError{op: "GET", cause: err} }
	for _, tc := range []struct {
		err  error
		want ErrorClass
	}{
		{answer("GET", 403, "AccessDenied"), Forbidden},
		{answer("LIST", 401, ""), Forbidden},
		{answer("GET", 400, "ExpiredToken"), Forbidden},
		{answer("HEAD", 404, "NotFound"), NotFound},
		{answer("LIST", 404, "NoSuchBucket"), NotFound},
		{answer("GET", 404, "NoSuchKey"), Changed},
		{answer("GET", 412, "PreconditionFailed"), Changed},
		{answer("GET", 403, "InvalidObjectState"), Archived},
		{answer("GET", 503, "SlowDown"), Throttled},
		{answer("GET", 503, ""), Throttled},
		{answer("GET", 429, ""), Throttled},
		{answer("GET", 400, "Throttling"), Throttled},
		{answer("GET", 500, "InternalError"), ServerError},
		{answer("GET", 502, ""), ServerError},
		{answer("GET", 400, "RequestTimeout"), TimedOut},
		{answer("GET", 408, ""), TimedOut},
		{answer("GET", 504, ""), TimedOut},
		{answer("GET", 400, "InvalidArgument"), OtherError},
		{answer("LIST", 200, ""), NetworkError},
		{transport(io.ErrUnexpectedEOF), NetworkError},
		{transport(syscall.ECONNRESET), NetworkError},
		{transport(context.DeadlineExceeded), TimedOut},
		{transport(&tls.CertificateVerificationError{Err: errors.New("unknown")}), Untrusted},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, NetworkError},
		{fmt.Errorf("%w: closed", retry.ErrStalled), TimedOut},
		{fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded), TimedOut},
		{fs.ErrPermission, Forbidden},
		{errors.New("whatever"), OtherError},
	} {
		if got := ClassOf(fmt.Errorf("wrapped: %w", tc.err)); got != tc.want {
			t.Errorf("%v is %v, want %v", tc.err, got, tc.want)
		}
	}
}

func TestErrorClassNames(t *testing.T) {
	seen := map[string]bool{}
	for class := range ErrorClasses {
		if name := class.String(); name == "" || name == "none" || seen[name] {
			t.Errorf("class %d is called %q", class, name)
		} else {
			seen[name] = true
		}
	}
}

// TestErrorsAreCounted holds that each failed attempt is counted, those that are
// made good by a retry too, and none of somebody who left.
func TestErrorsAreCounted(t *testing.T) {
	var counts errorCounts
	for _, err := range []error{fs.ErrPermission, fs.ErrPermission, io.ErrUnexpectedEOF, context.Canceled, fmt.Errorf("x: %w", context.Canceled)} {
		counts.count(err)
	}
	if forbidden, network, other := counts[Forbidden].Load(), counts[NetworkError].Load(), counts[OtherError].Load(); forbidden != 2 || network != 1 || other != 0 {
		t.Errorf("%d forbidden, %d of the network, %d others", forbidden, network, other)
	}
}
