package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// uploadPart is the size above which PutFile uploads in parts: the AWS
// clients' usual, so that large objects get multipart ETags as in real buckets.
const uploadPart = 64 << 20

// uploadStreams is how many parts go up at once: the server spends its time on
// checksums, and more streams than cores gain nothing.
const uploadStreams = 4

// newClient returns a client for the server that trusts its certificate.
func (s *Server) newClient() (*s3.Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: uploadStreams}
	if s.CABundle != "" {
		pem, err := os.ReadFile(s.CABundle)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", s.CABundle)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	owner := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
	return s3.New(s3.Options{
		BaseEndpoint:               aws.String(s.Endpoint),
		Region:                     s.Region,
		UsePathStyle:               true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		RetryMaxAttempts:           1,
		HTTPClient:                 &http.Client{Transport: transport},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return owner, nil
		}),
	}), nil
}

// Client returns the owner's client. It makes one attempt for each request.
func (s *Server) Client() *s3.Client { return s.client }

// CreateBucket makes an empty bucket; one that is there already is left as it is.
func (s *Server) CreateBucket(ctx context.Context, bucket string) error {
	_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	var owned *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &owned) {
		return fmt.Errorf("create bucket %s: %w", bucket, err)
	}
	return nil
}

// Put stores one object by one request. body is read once, from where it stands.
func (s *Server) Put(ctx context.Context, bucket, key string, body io.ReadSeeker) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body},
		s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	if err != nil {
		return fmt.Errorf("put s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}

// Delete removes one object.
func (s *Server) Delete(ctx context.Context, bucket, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("delete s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}

// PutFile stores the file at name, in parallel parts where it is large.
func (s *Server) PutFile(ctx context.Context, bucket, key, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() <= uploadPart {
		return s.Put(ctx, bucket, key, f)
	}
	if err := s.putParts(ctx, bucket, key, f, info.Size()); err != nil {
		return fmt.Errorf("put %s as s3://%s/%s: %w", name, bucket, key, err)
	}
	return nil
}

// PutDir stores every regular file below dir under prefix, which is "" or ends
// in a slash.
func (s *Server) PutDir(ctx context.Context, bucket, prefix, dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return s.PutFile(ctx, bucket, prefix+path.Clean(filepath.ToSlash(rel)), name)
	})
}

// putParts stores size bytes of r as one object of several parts. A failed
// upload is left to the end of the server.
func (s *Server) putParts(ctx context.Context, bucket, key string, r io.ReaderAt, size int64) error {
	upload, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	parts := make([]types.CompletedPart, (size+uploadPart-1)/uploadPart)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(uploadStreams)
	for i := range parts {
		group.Go(func() error {
			off, number := int64(i)*uploadPart, int32(i+1)
			out, err := s.client.UploadPart(groupCtx, &s3.UploadPartInput{
				Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &number,
				Body: io.NewSectionReader(r, off, min(uploadPart, size-off)),
			}, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
			if err == nil {
				parts[i] = types.CompletedPart{ETag: out.ETag, PartNumber: &number}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}
