package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"weightfs/remote/retry"
)

// newRequestError turns the SDK's error for one request into ours.
func newRequestError(ctx context.Context, op, uri string, off, n int64, err error) error {
	e := &requestError{op: op, uri: uri, off: off, n: n}
	if resp, ok := errors.AsType[*awshttp.ResponseError](err); ok && resp.HTTPStatusCode() != 0 {
		e.status = resp.HTTPStatusCode()
		e.requestID = resp.ServiceRequestID()
		e.signer = signerOf(resp.HTTPResponse().Request)
		e.retryAfter = parseRetryAfter(resp.HTTPResponse().Header.Get("Retry-After"), time.Now())
		e.region = resp.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.code, e.message = api.ErrorCode(), api.ErrorMessage()
	}
	e.sentinel = sentinelFor(op, e.status, e.code)
	if answer, ok := errors.AsType[issuerAnswer](err); ok && e.status == 0 && refusesToIssue(answer.HTTPStatusCode()) {
		e.status, e.sentinel = answer.HTTPStatusCode(), fs.ErrPermission
	}
	if e.status == 0 || (e.status < 300 && e.code == "") {
		e.cause = hideErrno(transportCause(err))
		if cause := context.Cause(ctx); cause != nil {
			e.cause = cause
			if errors.Is(err, errNoCredentials) {
				e.cause = fmt.Errorf("%w: %w", errNoCredentials, cause)
			}
		}
	}
	return e
}

// issuerAnswer is the error of a container's credential endpoint, which is not
// the SDK's usual one.
type issuerAnswer interface {
	smithy.APIError
	HTTPStatusCode() int
}

// refusesToIssue tells whether a credential endpoint's status is about who asks,
// and asking again is no use.
func refusesToIssue(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// hideErrno keeps a failure of this host from passing for an answer of the
// store: a firewall may have connect fail by EPERM or EACCES, and a token file
// may be missing while it is replaced.
func hideErrno(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// sentinelFor maps an answer to the error that callers branch on; nil where
// they do not. A GET is of a version that was listed: if it is gone or does not
// match, it has changed.
func sentinelFor(op string, status int, code string) error {
	switch {
	case code == "InvalidObjectState":
		return ErrArchived
	case status == http.StatusUnauthorized || status == http.StatusForbidden || refusesCredentials(code):
		return fs.ErrPermission
	case op == "GET" && (status == http.StatusNotFound || status == http.StatusPreconditionFailed ||
		status == http.StatusRequestedRangeNotSatisfiable):
		return ErrChanged
	case status == http.StatusNotFound:
		return fs.ErrNotExist
	}
	return nil
}

// refusesCredentials tells whether code is about who asks. S3 and STS send most
// of these as 400.
func refusesCredentials(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
		"InvalidClientTokenId", "InvalidIdentityToken", "SignatureDoesNotMatch", "AccessDenied", "RequestTimeTooSkewed":
		return true
	}
	return false
}

// transportCause peels the SDK's and net/http's wrappings, which repeat the
// operation and the URL.
func transportCause(err error) error {
	if send, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		err = send.Err
	} else if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		err = op.Err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return err
}

// parseRetryAfter reads a Retry-After header: seconds or a date; 0 where there
// is none.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if sec, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(sec) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// Classify implements [Backend].
func (s *S3) Classify(err error) retry.Failure {
	f := retry.Failure{Kind: classify(err)}
	if req, ok := errors.AsType[*requestError](err); ok {
		f.After, f.Answered = req.retryAfter, req.status != 0
		if s.creds != nil {
			f.Renew = func() { s.creds.renew(req.signer) }
		}
	}
	return f
}

// classify judges the error of one attempt. Sentinels that callers branch on are
// final, and so is what is not known to be transient.
func classify(err error) retry.Kind {
	req, ok := errors.AsType[*requestError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrInvalid):
		return retry.Final
	case errors.Is(err, errDoubtful) || errors.Is(err, ErrBadRange):
		return retry.Doubtful
	case errors.Is(err, ErrChanged):
		return retry.Final
	case ok && req.status != 0:
		return classifyAnswer(req.status, req.code)
	case ok && req.sentinel == nil && !untrusted:
		return retry.Transient
	}
	return retry.Classify(err).Kind
}

// classifyAnswer judges an answer of the store.
func classifyAnswer(status int, code string) retry.Kind {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestTimeTooSkewed":
		return retry.Expired
	case "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable",
		"Throttling", "ThrottlingException", "RequestLimitExceeded", "IDPCommunicationError":
		return retry.Transient // also where a store sends them as 400 or 200, and STS the latter as 400
	}
	switch {
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status == http.StatusTemporaryRedirect:
		return retry.Transient
	case status == http.StatusNotImplemented:
		return retry.Final
	case status >= 500 || status < 300: // below 300: the answer could not be read to its end
		return retry.Transient
	}
	return retry.Final
}
