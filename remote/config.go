package remote

import "log/slog"

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

	known bool // see Config.Known
}

// LocalConfig says how to show a folder.
type LocalConfig struct {
	// Logger gets warnings; nil discards them.
	Logger *slog.Logger
}
