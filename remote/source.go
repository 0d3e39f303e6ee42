package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Source says where a tree of checkpoints is: a bucket with a prefix, or a
// path of this host.
type Source struct {
	// Bucket is the name or the access-point ARN of an S3 bucket; "" for a path
	// of this host.
	Bucket string
	// Prefix is the key within the bucket, without a trailing slash; "" is the
	// whole bucket.
	Prefix string
	// Path is a folder or file of this host; "" for a bucket.
	Path string
}

// String is the form that [ParseSource] reads.
func (s Source) String() string {
	if s.Bucket == "" {
		return s.Path
	}
	return s3URI(s.Bucket, s.Prefix)
}

const s3Scheme = "s3://"

func s3URI(bucket, key string) string {
	if key == "" {
		return s3Scheme + bucket
	}
	return s3Scheme + bucket + "/" + key
}

// ParseSource reads s3://BUCKET[/PREFIX], s3://ARN[/PREFIX] with the ARN of an
// access point, or a path. Another scheme is an error; a path that looks like
// one can be written ./like://this.
func ParseSource(s string) (Source, error) {
	rest, ok := strings.CutPrefix(s, s3Scheme)
	if !ok {
		if s == "" {
			return Source{}, errors.New("source is empty: want s3://BUCKET[/PREFIX] or a folder")
		}
		if scheme, _, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(scheme, "/.") {
			return Source{}, fmt.Errorf("source %q: unknown scheme %q: want s3://BUCKET[/PREFIX] or a folder", s, scheme)
		}
		return Source{Path: s}, nil
	}
	bucket, prefix := cutBucket(rest)
	if bucket == "" {
		return Source{}, fmt.Errorf("source %q names no bucket: want s3://BUCKET[/PREFIX]", s)
	}
	return Source{Bucket: bucket, Prefix: strings.TrimRight(prefix, "/")}, nil
}

// cutBucket splits what follows s3:// at the end of the bucket. The resource
// of an access-point ARN contains slashes or colons itself:
// accesspoint/NAME or outpost/ID/accesspoint/NAME.
func cutBucket(rest string) (bucket, prefix string) {
	if !strings.HasPrefix(rest, "arn:") {
		bucket, prefix, _ = strings.Cut(rest, "/")
		return bucket, prefix
	}
	parts := strings.Split(rest, "/")
	words := 1 // of the ARN, slash-separated
	resource := parts[0][strings.LastIndexByte(parts[0], ':')+1:]
	switch {
	case resource == "accesspoint":
		words = 2
	case resource == "outpost":
		words = 4
	}
	words = min(words, len(parts))
	return strings.Join(parts[:words], "/"), strings.Join(parts[words:], "/")
}

// Config is what [Open] needs for either kind of source. The zero value means
// the defaults.
type Config struct {
	// Known says that the source was opened before, by the process that this one
	// takes over from: the store is not asked whether it is there, and one that does
	// not answer now is no error.
	Known bool
	S3    S3Config
	Local LocalConfig
	Retry RetryPolicy
}

// Open opens a source as a store: an S3 store wrapped by [WithRetry], or a
// [Local]. Where the source names one object instead of a folder, the store is
// that of the folder around it and key is the object's key there; key is ""
// for a folder. The caller closes the store.
func Open(ctx context.Context, src Source, cfg Config) (store Store, key string, err error) {
	if src.Bucket == "" {
		return openLocalSource(src.Path, cfg.Local)
	}
	var s *S3
	if cfg.Known {
		cfg.S3.known = true
		s, err = newS3(ctx, src, cfg.S3)
	} else {
		s, key, err = OpenS3(ctx, src, cfg.S3)
	}
	if err != nil {
		return nil, "", err
	}
	return WithRetry(s, cfg.Retry), key, nil
}

// Region is the region of a store that Open returned, "" for a folder.
func Region(store Store) string {
	if r, ok := store.(*Retrying); ok {
		if s, ok := r.backend.(*S3); ok {
			return s.client.Options().Region
		}
	}
	return ""
}

func openLocalSource(name string, cfg LocalConfig) (Store, string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, "", fmt.Errorf("source %s: %w", name, err)
	}
	if info.IsDir() {
		store, err := OpenLocal(name, cfg)
		if err != nil {
			return nil, "", err
		}
		return store, "", nil
	}
	// A file named in person may be a link to anywhere: open where it leads.
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, "", fmt.Errorf("source %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("source %s: neither a folder nor a regular file: %w", name, fs.ErrInvalid)
	}
	store, err := OpenLocal(filepath.Dir(real), cfg)
	if err != nil {
		return nil, "", err
	}
	return store, filepath.Base(real), nil
}
