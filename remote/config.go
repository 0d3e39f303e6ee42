package remote

import (
	"log/slog"
	"time"
)

// S3Config says how to reach a bucket. The zero value is the AWS default chain
// (environment, shared config files, web identity, container and instance
// roles), virtual-host addressing, and a region found from the bucket.
type S3Config struct {
	// EndpointURL overrides AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3.
	EndpointURL string
	// Region overrides AWS_REGION and the profile's; "" there too means: ask
	// the bucket, or "us-east-1" where an endpoint is given.
	Region string
	// Profile overrides AWS_PROFILE.
	Profile string
	// CABundle is a PEM file to trust beside the system's; overrides
	// AWS_CA_BUNDLE.
	CABundle string
	// ForcePathStyle puts the bucket in the path instead of the host name.
	ForcePathStyle bool
	// NoSignRequest sends anonymous requests.
	NoSignRequest bool
	// RequesterPays accepts the charges, on every request.
	RequesterPays bool
	// MaxConnections is how many connections are kept for reuse: as many as
	// requests may be under way at once, which the caller bounds; 0 is 256.
	MaxConnections int
	// Logger gets warnings; nil discards them.
	Logger *slog.Logger
}

// LocalConfig says how to show a folder.
type LocalConfig struct {
	// Logger gets warnings; nil discards them.
	Logger *slog.Logger
}

// RetryPolicy says what WithRetry does. The zero value means the defaults.
type RetryPolicy struct {
	// Attempts is how often one request is tried without a byte of progress; 0
	// is 10. Progress starts the count anew.
	Attempts int
	// BaseDelay and MaxDelay bound the exponential back-off, half of it jitter; 0 is
	// 100 ms and 20 s. A Retry-After is honoured up to MaxDelay.
	BaseDelay, MaxDelay time.Duration
	// StallTimeout is the least time without a byte after which a request is
	// replaced by a new one at its last byte; the effective value follows the
	// observed times (several times their 99th percentile). 0 is 2 s. A quarter
	// of it is the least time for a body that has begun when it is known how the
	// last ones came: for one that is silent, and for one that is eight times
	// slower than their median.
	StallTimeout time.Duration
	// ReadTimeout is how long a request may be waited for without a byte, all its
	// attempts and the pauses between them together; 0 leaves it to Attempts. The
	// time that a reader takes with what it got does not count.
	ReadTimeout time.Duration
	// Logger gets one warning per request that failed three times, and all
	// retries at the level of debugging; nil discards.
	Logger *slog.Logger
}
