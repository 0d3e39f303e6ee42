package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// client is the yardstick: the AWS SDK as a careful user would set it up, with
// as many kept connections as there are readers, and buffers that are reused.
type client struct {
	s3  *s3.Client
	key string
}

// newClient returns a client for an object of the bucket, and its size. The
// connections of the first requests are part of what is measured.
func newClient(ctx context.Context, key string) (*client, int64, error) {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 256
		t.ReadBufferSize = 32 << 10
		t.DisableCompression = true
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport))
	if err != nil {
		return nil, 0, err
	}
	c := &client{key: key, s3: s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = true
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})}
	head, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: &c.key})
	if err != nil {
		return nil, 0, err
	}
	return c, *head.ContentLength, nil
}

func (c *client) readAt(ctx context.Context, buf []byte, off int64) error {
	out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(bucket), Key: &c.key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(buf))-1)),
	})
	if err != nil {
		return err
	}
	_, err = io.ReadFull(out.Body, buf)
	return errors.Join(err, out.Body.Close())
}
