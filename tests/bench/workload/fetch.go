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

	object  *Object
	buffers [][]byte
	target  []byte
}

// NewClient returns a client that keeps its connections, over HTTP/1.1 alone.
func NewClient(ctx context.Context) (*s3.Client, error) {
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
func (f *Fetch) prepare(ctx context.Context) (err error) {
	client, err := NewClient(ctx)
	if err != nil {
		return err
	}
	if f.object, err = OpenObject(ctx, client, f.Bucket, f.Key); err != nil {
		return err
	}
	if f.buffers, err = memories(f.Connections, f.Part); err == nil {
		f.target, err = f.Copy.memory(f.object.Size)
	}
	return err
}

func (f *Fetch) run(ctx context.Context) (Result, error) {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, buf := range f.buffers {
		group.Go(func() error {
			for {
				off := next.Add(f.Part) - f.Part
				if off >= f.object.Size {
					return nil
				}
				part := buf[:min(f.Part, f.object.Size-off)]
				if err := f.object.Fill(ctx, part, off); err != nil {
					return err
				}
				if f.target != nil {
					copy(f.target[off:], part)
				}
			}
		})
	}
	return Result{Bytes: f.object.Size, Items: (f.object.Size + f.Part - 1) / f.Part}, group.Wait()
}

// Object is an object of a bucket, read by ranged GETs.
type Object struct {
	Size        int64
	client      *s3.Client
	bucket, key string
}

// OpenObject asks for the size of an object.
func OpenObject(ctx context.Context, client *s3.Client, bucket, key string) (*Object, error) {
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("size of the object: %w", err)
	}
	return &Object{aws.ToInt64(head.ContentLength), client, bucket, key}, nil
}

// Fill fills buf from off.
func (o *Object) Fill(ctx context.Context, buf []byte, off int64) error {
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.bucket, Key: &o.key,
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

	client *s3.Client
}

func (l *List) prepare(ctx context.Context) (err error) {
	if l.client, err = NewClient(ctx); err == nil { // the connection is there when the clock starts, as the mount's is
		_, err = l.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &l.Bucket, MaxKeys: aws.Int32(1)})
	}
	return err
}

// run lists the folders of one depth after those of the one above.
func (l *List) run(ctx context.Context) (result Result, err error) {
	var mu sync.Mutex
	for folders := []string{l.Prefix}; len(folders) > 0; {
		var below []string // guarded by mu, as result is
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(l.AtOnce)
		for _, folder := range folders {
			group.Go(func() error {
				return l.list(ctx, folder, func(page *s3.ListObjectsV2Output) {
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
func (l *List) list(ctx context.Context, prefix string, add func(*s3.ListObjectsV2Output)) error {
	in := &s3.ListObjectsV2Input{Bucket: &l.Bucket, Prefix: &prefix}
	if !l.Flat {
		in.Delimiter = aws.String("/")
	}
	for pages := s3.NewListObjectsV2Paginator(l.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		add(page)
	}
	return nil
}
