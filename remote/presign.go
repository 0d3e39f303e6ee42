package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Presigner is a [Store] that gives out URLs by which others read its objects.
type Presigner interface {
	// Presign returns the URL of a GET of the object that is good from the time
	// at, for so long, and for any Range and If-Match: nothing but the host is
	// signed. The URL is a secret, for it stands for the credentials; that of a
	// store read without credentials carries none. errors.ErrUnsupported where
	// there is no such URL.
	Presign(ctx context.Context, obj Object, at time.Time, valid time.Duration) (string, error)
}

// Presign implements [Presigner]. Who pays for a requester-pays bucket is part of
// the URL. It makes no request but for credentials.
func (s *S3) Presign(ctx context.Context, obj Object, at time.Time, valid time.Duration) (string, error) {
	client := s3.NewPresignClient(s.client, s3.WithPresignExpires(valid),
		s3.WithPresignClientFromClientOptions(func(o *s3.Options) {
			o.APIOptions = nil // leaveAcceptEncodingUnsigned: no such header is signed
			if s.creds == nil {
				o.Credentials = nobody{}
			}
		}),
		func(o *s3.PresignOptions) { o.Presigner = newDatedSigner(at) })
	signed, err := client.PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket:       &s.bucket,
		Key:          aws.String(s.prefix + obj.Key),
		RequestPayer: s.payer,
	})
	if err != nil {
		return "", newRequestError(ctx, "SIGN", s.uri(obj.Key), 0, 0, err)
	}
	for name := range signed.SignedHeader {
		if !strings.EqualFold(name, "Host") {
			return "", fmt.Errorf("sign %s: the store wants the header %s too: %w", s.uri(obj.Key), name, errors.ErrUnsupported)
		}
	}
	if s.creds == nil {
		plain, _, _ := strings.Cut(signed.URL, "?")
		return plain, nil
	}
	return signed.URL, nil
}

// nobody are credentials for a signature that is cut off: the SDK makes no URL
// without one.
type nobody struct{}

// Retrieve implements [aws.CredentialsProvider].
func (nobody) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "nobody", SecretAccessKey: "nobody"}, nil
}

// Presign implements [Presigner], for a back end that does.
func (r *Retrying) Presign(ctx context.Context, obj Object, at time.Time, valid time.Duration) (string, error) {
	p, ok := r.backend.(Presigner)
	if !ok {
		return "", fmt.Errorf("sign %s: %w", obj.Key, errors.ErrUnsupported)
	}
	return p.Presign(ctx, obj, at, valid)
}

// datedSigner signs as of another time than now.
type datedSigner struct {
	*v4.Signer
	at time.Time
}

func newDatedSigner(at time.Time) datedSigner {
	// As the SDK's own for S3, whose keys are escaped once.
	return datedSigner{v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), at}
}

// PresignHTTP implements s3.HTTPPresignerV4.
func (d datedSigner) PresignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request,
	payloadHash, service, region string, _ time.Time, opts ...func(*v4.SignerOptions),
) (url string, signed http.Header, err error) {
	return d.Signer.PresignHTTP(ctx, credentials, r, payloadHash, service, region, d.at, opts...)
}
