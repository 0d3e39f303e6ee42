// What kind of failure an error of a store is, to be counted and shown without
// naming an object. What is done about it is in classify and retry.

package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"

	"weightfs/remote/retry"
)

// ErrorClass is a kind of failure of a request to a store.
type ErrorClass uint8

// The kinds of failure.
const (
	OtherError   ErrorClass = iota
	Forbidden               // credentials that are missing, wrong or expired, or a policy
	NotFound                // no such object or directory; also the answer to a name that does not exist
	Changed                 // the version that was listed is no longer there
	Archived                // the object must be restored first
	Throttled               // the store wants fewer requests
	ServerError             // the store failed by itself, 5xx
	TimedOut                // nothing came in time
	NetworkError            // no connection, or one that broke
	Untrusted               // a certificate that is not trusted
	ErrorClasses            // how many there are
)

// String is the class's name in metrics.
func (c ErrorClass) String() string {
	return [...]string{"other", "forbidden", "not_found", "changed", "archived", "throttled",
		"server", "timeout", "network", "untrusted", "none"}[min(c, ErrorClasses)]
}

// ClassOf is the class of the error of a [Store].
func ClassOf(err error) ErrorClass {
	req, _ := errors.AsType[*requestError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, ErrArchived):
		return Archived
	case errors.Is(err, ErrChanged):
		return Changed
	case errors.Is(err, fs.ErrPermission):
		return Forbidden
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case req != nil && req.status != 0:
		return classOfAnswer(req.status, req.code)
	case untrusted:
		return Untrusted
	case errors.Is(err, retry.ErrStalled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case req != nil, isNetwork(err):
		return NetworkError
	}
	return OtherError
}

// classOfAnswer is the class of an answer that is not one of the sentinels.
func classOfAnswer(status int, code string) ErrorClass {
	switch code {
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable":
		return Throttled
	case "RequestTimeout":
		return TimedOut
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return Throttled
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		return TimedOut
	case status >= 500:
		return ServerError
	case status < 300: // its answer could not be read to its end
		return NetworkError
	}
	return OtherError
}

// isNetwork tells whether err is one of the line.
func isNetwork(err error) bool {
	_, op := errors.AsType[net.Error](err)
	return op || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// errorCounts counts failed attempts by class.
type errorCounts [ErrorClasses]atomic.Int64

// count counts err, unless it is that nobody wants an answer any more.
func (c *errorCounts) count(err error) {
	if !errors.Is(err, context.Canceled) {
		c[ClassOf(err)].Add(1)
	}
}
