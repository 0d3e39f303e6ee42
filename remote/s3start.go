package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"weightfs/remote/retry"
)

// startTimeout bounds the check at start, retries included.
const startTimeout = 60 * time.Second

// startPolicy retries the check at start less than a read: someone is waiting
// for the cause.
func startPolicy() RetryPolicy { return RetryPolicy{Attempts: 4, MaxDelay: 2 * time.Second} }

// probe checks that the prefix can be listed and has keys, by listing one of
// them: policies scoped to a prefix forbid asking about the bucket. A prefix that
// is one object makes the folder around it the root, and key its name there.
func (s *S3) probe(ctx context.Context, prefix string) (key string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r := WithRetry(s, startPolicy())
	found, err := hasKeys(ctx, r, "")
	if err == nil && !found && prefix != "" {
		s.prefix, key = path.Split(prefix)
		_, err = r.Stat(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s: no object has this key or prefix: check the path: %w", s3URI(s.bucket, prefix), fs.ErrNotExist)
		}
	}
	if err != nil {
		return "", s.explain(prefix, err)
	}
	return key, nil
}

// explain turns the failure of the first request into one line that says what
// to do.
func (s *S3) explain(prefix string, err error) error {
	o := s.client.Options()
	where := "Amazon S3"
	if !s.aws {
		where = aws.ToString(o.BaseEndpoint)
	}
	hint := startHint(err, o.Region)
	if hint == "" {
		return fmt.Errorf("cannot list %s at %s: %w", s3URI(s.bucket, prefix), where, err)
	}
	return fmt.Errorf("cannot list %s at %s: %s: %w", s3URI(s.bucket, prefix), where, hint, err)
}

// startHint says what to do about an error at start, "" where nothing is known.
func startHint(err error, region string) string {
	if req, ok := errors.AsType[*requestError](err); ok && req.status != 0 {
		return answerHint(req, region)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not trusted: give its authority by AWS_CA_BUNDLE"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("host %s cannot be resolved: check endpoint, region and bucket name", dns.Name)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the endpoint"
	case errors.Is(err, retry.ErrStalled) || isTimeout(err):
		return "no answer in time: check the endpoint and the network"
	}
	return ""
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// answerHint is startHint for an error that the store answered with.
func answerHint(req *requestError, region string) string {
	switch req.code {
	case "NoSuchBucket", "NotFound":
		return "the bucket does not exist: check its name and the endpoint"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken":
		return "the credentials are not accepted: check them and the clock"
	case "RequestTimeTooSkewed":
		return "this host's clock is wrong"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return wrongRegion(req, region)
	}
	switch {
	case req.status == 301 || (req.region != "" && req.region != region):
		return wrongRegion(req, region)
	case req.status == 401 || req.status == 403:
		return "the credentials may not list it: they need s3:ListBucket and s3:GetObject"
	}
	return ""
}

func wrongRegion(req *requestError, region string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the bucket is not in region %s: ", region)
	if req.region != "" {
		fmt.Fprintf(&b, "set AWS_REGION to %s", req.region)
	} else {
		b.WriteString("set AWS_REGION to its region")
	}
	return b.String()
}
