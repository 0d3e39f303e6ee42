package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// defaultConnections is what the adaptive concurrency grows to at most.
	defaultConnections = 256
	// readBufferSize of a connection: larger ones measured no faster, and 256
	// connections multiply it.
	readBufferSize = 32 << 10
	// responseHeaderTimeout is a backstop for use without WithRetry, which
	// replaces a silent request long before.
	responseHeaderTimeout = 60 * time.Second
	// credentialTimeout bounds the search through the chain, whose last link,
	// the instance metadata service, may be a black hole.
	credentialTimeout = 15 * time.Second
	// knownTimeout is the same where readers wait, and the first request that needs
	// credentials looks for them again.
	knownTimeout = 200 * time.Millisecond
	// endpointRegion is signed for where an endpoint is given and no region:
	// such stores take any, and most call themselves this one.
	endpointRegion = "us-east-1"
)

// newS3 builds the client, finding credentials and region; it does not yet ask
// for the prefix.
func newS3(ctx context.Context, src Source, cfg S3Config) (*S3, error) {
	ac, err := loadAWS(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("configure access to %s: %w", src, err)
	}
	s := &S3{bucket: src.Bucket, prefix: dirPrefix(src.Prefix), log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}
	if cfg.RequesterPays {
		s.payer = types.RequestPayerRequester
	}
	s.http = &http.Client{
		Transport:     ac.HTTPClient.(*awshttp.BuildableClient).GetTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if err := s.findCredentials(ctx, &ac, cfg); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	if err := s.connect(ctx, ac, cfg); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	return s, nil
}

// loadAWS reads environment and shared files into one SDK configuration.
func loadAWS(ctx context.Context, cfg S3Config) (aws.Config, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return aws.Config{}, fmt.Errorf("read the system's CA certificates: %w", err)
	}
	opts := []func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient(cfg.MaxConnections, roots)),
		config.WithLogger(logging.Nop{}),
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if cfg.Region != "" {
		opts = append(opts, config.WithRegion(cfg.Region))
	}
	if cfg.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(cfg.Profile))
	}
	if cfg.CABundle != "" {
		pem, err := os.ReadFile(cfg.CABundle)
		if err != nil {
			return aws.Config{}, fmt.Errorf("read CA bundle: %w", err)
		}
		opts = append(opts, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	ac, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, err
	}
	if cfg.EndpointURL != "" {
		ac.BaseEndpoint = &cfg.EndpointURL
	}
	return ac, nil
}

// newHTTPClient is tuned for many large bodies at once. The SDK adds
// AWS_CA_BUNDLE to roots, which is why it must be its own buildable client.
func newHTTPClient(connections int, roots *x509.CertPool) *awshttp.BuildableClient {
	connections = cmp.Or(max(connections, 0), defaultConnections)
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = newSpreadDialer().DialContext
		tr.MaxIdleConns = connections
		tr.MaxIdleConnsPerHost = connections
		tr.MaxConnsPerHost = 0 // the caller bounds its requests
		tr.ReadBufferSize = readBufferSize
		tr.ResponseHeaderTimeout = responseHeaderTimeout
		tr.DisableCompression = true // sizes and ranges are those of the stored bytes
		// HTTP/2 would put all bodies on one connection. The SDK's transport
		// has already been set up to offer it.
		tr.ForceAttemptHTTP2 = false
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
		tr.TLSClientConfig.RootCAs = roots
	})
}

// findCredentials takes the first of the chain that answers, so that having
// none is said at once and not by a refused request, if the source is not known.
func (s *S3) findCredentials(ctx context.Context, ac *aws.Config, cfg S3Config) error {
	if cfg.NoSignRequest {
		ac.Credentials = aws.AnonymousCredentials{}
		return nil
	}
	cache, ok := ac.Credentials.(*aws.CredentialsCache)
	if !ok {
		cache = aws.NewCredentialsCache(ac.Credentials)
	}
	creds := &identity{cache: cache}
	ac.Credentials = creds
	timeout := credentialTimeout
	if cfg.known {
		timeout = knownTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := creds.Retrieve(ctx)
	if err != nil && !cfg.known {
		return fmt.Errorf("no usable AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or send unsigned requests to a public bucket: %w: %w", fs.ErrPermission, err)
	}
	if strings.HasPrefix(found.Source, sharedFile) {
		creds.cache = aws.NewCredentialsCache(reloading(cfg))
	}
	s.creds = creds
	return nil
}

// connect makes the client for the endpoint and region that hold the bucket.
func (s *S3) connect(ctx context.Context, ac aws.Config, cfg S3Config) error {
	options := func(o *s3.Options) {
		if cfg.EndpointURL != "" {
			o.BaseEndpoint = &cfg.EndpointURL
		}
		o.HTTPClient = s.http
		o.UsePathStyle = cfg.ForcePathStyle
		o.UseARNRegion = true
		o.Retryer = aws.NopRetryer{}
	}
	endpoint := aws.ToString(s3.NewFromConfig(ac, options).Options().BaseEndpoint)
	if err := checkEndpoint(endpoint); err != nil {
		return err
	}
	s.aws = endpoint == ""
	switch {
	case ac.Region != "":
	case !s.aws:
		ac.Region = endpointRegion
	default:
		region, err := s.findRegion(ctx)
		if err != nil {
			return err
		}
		ac.Region = region
	}
	s.client = s3.NewFromConfig(ac, options, func(o *s3.Options) {
		if !s.aws {
			o.APIOptions = append(o.APIOptions, leaveAcceptEncodingUnsigned)
		}
	})
	return nil
}

// checkEndpoint refuses what would fail later in a less obvious way.
func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	// What cannot be parsed may hold a password all the same, and the parser's
	// error quotes it.
	shown := endpoint
	at := strings.LastIndex(endpoint, "@")
	if at >= 0 {
		shown = "..." + endpoint[at:]
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return fmt.Errorf("endpoint %q is not an http:// or https:// URL", shown)
	case u.User != nil:
		return fmt.Errorf("endpoint %q carries a user name: give credentials by the AWS variables or a profile", shown)
	}
	return nil
}

// leaveAcceptEncodingUnsigned takes the header out of what is signed. Google's
// front end, and other proxies, rewrite it on the way, which breaks the
// signature of every request.
func leaveAcceptEncodingUnsigned(stack *middleware.Stack) error {
	const header = "Accept-Encoding"
	without := middleware.FinalizeMiddlewareFunc("DropAcceptEncoding", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			req.Header.Del(header)
		}
		return next.HandleFinalize(ctx, in)
	})
	with := middleware.FinalizeMiddlewareFunc("AddAcceptEncoding", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			req.Header.Set(header, "identity")
		}
		return next.HandleFinalize(ctx, in)
	})
	if err := stack.Finalize.Insert(without, "Signing", middleware.Before); err != nil {
		return err
	}
	return stack.Finalize.Insert(with, "Signing", middleware.After)
}
