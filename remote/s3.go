package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3 is a bucket, or what is below a prefix of one. Each method is one attempt
// per request: wrap it by [WithRetry]. It is safe for concurrent use.
type S3 struct {
	client *s3.Client
	http   *http.Client
	creds  *identity // nil for anonymous requests
	log    *slog.Logger

	bucket string
	prefix string // "" or ending in a slash
	payer  types.RequestPayer
	aws    bool // no endpoint was given: this is Amazon's own S3

	hidden hiddenNames
}

// OpenS3 opens the objects of a bucket below a prefix, after one listing of a
// single key has shown that they can be reached. Where the source names one
// object, the store is that of the folder around it, and key its key there.
// Errors are one line that says what to do: fs.ErrNotExist for a missing bucket or
// a prefix without keys, and fs.ErrPermission for missing or refused credentials.
func OpenS3(ctx context.Context, src Source, cfg S3Config) (s *S3, key string, err error) {
	s, err = newS3(ctx, src, cfg)
	if err != nil {
		return nil, "", err
	}
	key, err = s.probe(ctx, src.Prefix)
	if err != nil {
		s.Close()
		return nil, "", err
	}
	return s, key, nil
}

// uri names an object in messages.
func (s *S3) uri(key string) string { return s3URI(s.bucket, s.prefix+key) }

// Hidden is the number of keys that listings left out because they cannot be
// file names.
func (s *S3) Hidden() int64 { return s.hidden.total() }

// Close implements [Store].
func (s *S3) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// Stat implements [Store] by one HEAD request.
func (s *S3) Stat(ctx context.Context, key string) (Object, error) {
	if !validKey(key) {
		return Object{}, notExist("HEAD", s.uri(key))
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket:       &s.bucket,
		Key:          aws.String(s.prefix + key),
		RequestPayer: s.payer,
	})
	if err != nil {
		return Object{}, newRequestError(ctx, "HEAD", s.uri(key), 0, 0, err)
	}
	archived := isArchive(string(out.StorageClass)) &&
		!strings.Contains(aws.ToString(out.Restore), `ongoing-request="false"`)
	return s.object(key, aws.ToInt64(out.ContentLength), aws.ToTime(out.LastModified), out.ETag, archived)
}

// OpenRange implements [Store] by one GET with If-Match, or If-Unmodified-Since
// where the store gave no ETag.
func (s *S3) OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 || off > obj.Size-n {
		return nil, fmt.Errorf("read %s: range [%d,%d) is not within its %d bytes: %w",
			s.uri(obj.Key), off, off+n, obj.Size, fs.ErrInvalid)
	}
	if obj.Archived {
		return nil, fmt.Errorf("read %s: %w", s.uri(obj.Key), ErrArchived)
	}
	if n == 0 {
		return http.NoBody, nil
	}
	in := &s3.GetObjectInput{
		Bucket:       &s.bucket,
		Key:          aws.String(s.prefix + obj.Key),
		Range:        aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
		RequestPayer: s.payer,
	}
	if isDated(obj.Version) {
		// Rounded up: the store may know of parts of a second. checkRange is exact.
		in.IfUnmodifiedSince = aws.Time(obj.ModTime.Truncate(time.Second).Add(time.Second))
	} else {
		in.IfMatch = aws.String(`"` + obj.Version + `"`)
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, newRequestError(ctx, "GET", s.uri(obj.Key), off, n, err)
	}
	body := &s3Body{ctx: ctx, rc: out.Body, uri: s.uri(obj.Key), off: off, left: n}
	if err := s.checkRange(out, obj, off, n); err != nil {
		out.Body.Close()
		return nil, body.fail(err)
	}
	return body, nil
}

// errDoubtful says that an answer is of another version although a condition was
// sent: a store that ignores it, or a header that was damaged on the way, which
// asking again tells apart.
var errDoubtful = errors.New("the store answered in spite of the condition")

// checkRange holds a successful answer against what was asked for: a proxy or
// a lesser store may ignore Range or If-Match.
func (s *S3) checkRange(out *s3.GetObjectOutput, obj Object, off, n int64) error {
	// Who drops the ETag may have dropped If-Match too.
	if got := etagVersion(out.ETag); got != obj.Version && !isDated(obj.Version) {
		return fmt.Errorf("ETag is %q, listed was %s: %w: %w", got, obj.Version, errDoubtful, ErrChanged)
	}
	if got := aws.ToTime(out.LastModified); got.Unix() != obj.ModTime.Unix() && isDated(obj.Version) {
		return fmt.Errorf("Last-Modified is %v, listed was %v: %w: %w", got, obj.ModTime, errDoubtful, ErrChanged)
	}
	status := 0
	if resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); ok {
		status = resp.StatusCode
	}
	if status != http.StatusPartialContent {
		return fmt.Errorf("HTTP %d in place of 206: %w", status, ErrBadRange)
	}
	span, total, _ := strings.Cut(aws.ToString(out.ContentRange), "/")
	size, err := strconv.ParseUint(total, 10, 63)
	told := total != "*"
	if span != fmt.Sprintf("bytes %d-%d", off, off+n-1) || told && (err != nil || int64(size) < off+n) {
		return fmt.Errorf("Content-Range %q: %w", aws.ToString(out.ContentRange), ErrBadRange)
	}
	if told && int64(size) != obj.Size || !told && isDated(obj.Version) {
		return fmt.Errorf("size is %s, listed was %d: %w: %w", total, obj.Size, errDoubtful, ErrChanged)
	}
	// A shorter one is a body that was cut off: what there is of it counts.
	if out.ContentLength != nil && *out.ContentLength > n {
		return fmt.Errorf("Content-Length %d: %w", *out.ContentLength, ErrBadRange)
	}
	return nil
}
