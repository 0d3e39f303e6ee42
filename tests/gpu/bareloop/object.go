package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"weightfs/tests/bench/workload"
)

// object is a file or an object of a bucket.
type object struct {
	name string
	size int64
	// readAt fills p, which is page-aligned, from off, a multiple of a page.
	readAt func(ctx context.Context, p []byte, off int64) error
}

// openAll opens the sources. Files stay open to the end of
// the process.
func openAll(ctx context.Context, sources []string, direct bool) ([]object, error) {
	var client *s3.Client
	objects := make([]object, len(sources))
	for i, source := range sources {
		var err error
		if uri, ok := strings.CutPrefix(source, "s3://"); ok {
			if client == nil {
				if client, err = workload.NewClient(ctx); err != nil {
					return nil, err
				}
			}
			bucket, key, _ := strings.Cut(uri, "/")
			objects[i], err = openObject(ctx, client, bucket, key)
		} else {
			objects[i], err = openFile(source, direct)
		}
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

func openFile(name string, direct bool) (object, error) {
	flags := os.O_RDONLY
	if direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return object{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return object{}, err
	}
	read := func(_ context.Context, p []byte, off int64) error {
		if direct {
			return readPages(f, p, off)
		}
		_, err := io.ReadFull(io.NewSectionReader(f, off, int64(len(p))), p)
		return err
	}
	return object{name: name, size: info.Size(), readAt: read}, nil
}

// readPages fills p by reads of whole pages, the last of which ends past the
// end of the file, in p's capacity.
func readPages(f *os.File, p []byte, off int64) error {
	const page = 4096
	whole := p[:(len(p)+page-1)/page*page]
	for n := 0; n < len(p); {
		more, err := unix.Pread(int(f.Fd()), whole[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if more == 0 {
			return io.ErrUnexpectedEOF
		}
		n += more
	}
	return nil
}

func openObject(ctx context.Context, client *s3.Client, bucket, key string) (object, error) {
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return object{}, err
	}
	name := "s3://" + bucket + "/" + key
	return object{name: name, size: aws.ToInt64(head.ContentLength), readAt: func(ctx context.Context, p []byte, off int64) error {
		span := fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1)
		got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: &span})
		if err != nil {
			return err
		}
		defer got.Body.Close()
		_, err = io.ReadFull(got.Body, p)
		return err
	}}, nil
}
