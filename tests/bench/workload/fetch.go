package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// Fetch is the yardstick: the whole object by ranged GETs of Part bytes over
// that many connections, into buffers that are reused, by the AWS SDK as a
// careful user would set it up. The environment says where the server is.
type Fetch struct {
	Bucket, Key string
	Connections int
	Part        int64
	// Copy has each byte copied once more to its place in memory of the object's
	// size.
	Copy Target
}

func (f *Fetch) kind() string { return "fetch" }

// newClient returns a client that keeps its connections, over HTTP/1.1 alone.
func newClient(ctx context.Context) (*s3.Client, error) {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 256
		t.ReadBufferSize = 32 << 10
		t.DisableCompression = true
		t.ForceAttemptHTTP2 = false
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport))
	if err != nil {
		return nil, fmt.Errorf("S3 client: %w", err)
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = true
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}), nil
}

// prepare asks for the size, which opens the first connection; the others are
// part of what is timed.
func (f *Fetch) prepare(ctx context.Context) (work, error) {
	client, err := newClient(ctx)
	if err != nil {
		return nil, err
	}
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &f.Bucket, Key: &f.Key})
	if err != nil {
		return nil, fmt.Errorf("size of the object: %w", err)
	}
	size := aws.ToInt64(head.ContentLength)
	buffers := make([][]byte, f.Connections)
	for i := range buffers {
		if buffers[i], err = memory(f.Part); err != nil {
			return nil, err
		}
	}
	target, err := f.Copy.memory(size)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Result, error) { return f.run(ctx, client, size, buffers, target) }, nil
}

func (f *Fetch) run(ctx context.Context, client *s3.Client, size int64, buffers [][]byte, target []byte) (Result, error) {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, buf := range buffers {
		group.Go(func() error {
			for {
				off := next.Add(f.Part) - f.Part
				if off >= size {
					return nil
				}
				part := buf[:min(f.Part, size-off)]
				if err := f.get(ctx, client, part, off); err != nil {
					return err
				}
				if target != nil {
					copy(target[off:], part)
				}
			}
		})
	}
	return Result{Bytes: size, Items: (size + f.Part - 1) / f.Part}, group.Wait()
}

// get fills buf from off.
func (f *Fetch) get(ctx context.Context, client *s3.Client, buf []byte, off int64) error {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &f.Bucket, Key: &f.Key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(buf))-1)),
	})
	if err != nil {
		return err
	}
	_, err = io.ReadFull(out.Body, buf)
	return errors.Join(err, out.Body.Close())
}

// List is the plain client's listing: what is below a prefix, which is "" or ends
// in a slash, folder by folder or Flat. Items is the number of objects, Bytes the
// sum of their sizes.
type List struct {
	Bucket, Prefix string
	// AtOnce is how many folders are listed at the same time.
	AtOnce int
	Flat   bool
}

func (l *List) kind() string { return "list" }

func (l *List) prepare(ctx context.Context) (work, error) {
	client, err := newClient(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &l.Bucket, MaxKeys: aws.Int32(1)}); err != nil {
		return nil, err // the connection is there when the clock starts, as the mount's is
	}
	return func(ctx context.Context) (Result, error) { return l.run(ctx, client) }, nil
}

// run lists the folders of one depth after those of the one above.
func (l *List) run(ctx context.Context, client *s3.Client) (result Result, err error) {
	var mu sync.Mutex
	for folders := []string{l.Prefix}; len(folders) > 0; {
		var below []string // guarded by mu, as result is
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(l.AtOnce)
		for _, folder := range folders {
			group.Go(func() error {
				return l.list(ctx, client, folder, func(page *s3.ListObjectsV2Output) {
					mu.Lock()
					defer mu.Unlock()
					for _, object := range page.Contents {
						result.Items++
						result.Bytes += aws.ToInt64(object.Size)
					}
					for _, sub := range page.CommonPrefixes {
						below = append(below, aws.ToString(sub.Prefix))
					}
				})
			})
		}
		if err := group.Wait(); err != nil {
			return result, err
		}
		folders = below
	}
	return result, nil
}

// list hands the pages of one folder over.
func (l *List) list(ctx context.Context, client *s3.Client, prefix string, add func(*s3.ListObjectsV2Output)) error {
	in := &s3.ListObjectsV2Input{Bucket: &l.Bucket, Prefix: &prefix}
	if !l.Flat {
		in.Delimiter = aws.String("/")
	}
	for pages := s3.NewListObjectsV2Paginator(client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		add(page)
	}
	return nil
}
