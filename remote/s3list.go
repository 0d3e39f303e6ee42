package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Why keys are hidden.
const (
	cannotBeFile = "keys that cannot be file names"
	isDirectory  = "objects whose key is also a directory"
	unversioned  = "objects without ETag and date, whose versions cannot be told apart"
)

// ListPage implements [Store] by one request. A directory whose name is also
// that of an object on the page hides it.
func (s *S3) ListPage(ctx context.Context, dir, token string, limit int) (Page, error) {
	if dir != "" && !validKey(dir) {
		return Page{}, notExist("LIST", s.uri(dir))
	}
	in := &s3.ListObjectsV2Input{
		Bucket:       &s.bucket,
		Prefix:       aws.String(s.prefix + dirPrefix(dir)),
		Delimiter:    aws.String("/"),
		EncodingType: types.EncodingTypeUrl,
		RequestPayer: s.payer,
	}
	if token != "" {
		in.ContinuationToken = &token
	}
	if limit > 0 {
		in.MaxKeys = aws.Int32(int32(limit))
	}
	// Other stores, and directory buckets, may refuse what they do not know.
	if s.aws && !s.isDirectoryBucket() {
		in.OptionalObjectAttributes = []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus}
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return Page{}, newRequestError(ctx, "LIST", s.uri(dir), 0, 0, err)
	}
	p := listedPage{base: s.prefix + dirPrefix(dir), decode: keyDecoder(out.EncodingType)}
	if err := s.parsePage(&p, out); err != nil {
		return Page{}, fmt.Errorf("LIST %s: %w", s.uri(dir), err)
	}
	if limit == 0 {
		s.noteHidden(dir, token == "", p.hidden)
	}
	return p.Page, nil
}

// isDirectoryBucket tells by its name whether this is a directory bucket, which
// lists in no order.
func (s *S3) isDirectoryBucket() bool { return strings.HasSuffix(s.bucket, "--x-s3") }

// listedPage is a page that is being parsed.
type listedPage struct {
	Page
	base   string // what all keys begin with
	decode func(string) string
	hidden []hiddenKey
}

// hiddenKey is a key that is left out of a listing.
type hiddenKey struct{ key, why string }

// name is the decoded key, and its part below the directory. That one is "" and
// the key hidden if it cannot be a file.
func (p *listedPage) name(key *string, suffix string) (full, name string) {
	full = p.decode(aws.ToString(key))
	path, whole := strings.CutSuffix(full, suffix)
	name, below := strings.CutPrefix(path, p.base)
	if !whole || !below || nameFault(name) != "" {
		if full != p.base { // the directory's own marker
			p.hide(full, cannotBeFile)
		}
		return full, ""
	}
	return path, name
}

func (p *listedPage) hide(key, why string) { p.hidden = append(p.hidden, hiddenKey{key, why}) }

// noteHidden counts the keys left out of dir, anew with its first page, and
// warns of the first of each kind.
func (s *S3) noteHidden(dir string, first bool, hidden []hiddenKey) {
	s.hidden.note(dir, first, int64(len(hidden)))
	for _, h := range hidden {
		if s.hidden.first(h.why) {
			s.log.Warn("hiding "+h.why+"; further ones are only counted", "key", s3URI(s.bucket, h.key))
		}
	}
}

func dirPrefix(dir string) string {
	if dir == "" {
		return ""
	}
	return dir + "/"
}

// parsePage sorts the keys of one answer into entries and hidden keys.
func (s *S3) parsePage(p *listedPage, out *s3.ListObjectsV2Output) error {
	p.Exists = len(out.Contents)+len(out.CommonPrefixes) > 0
	p.Entries = make([]Entry, 0, len(out.Contents)+len(out.CommonPrefixes))
	last := ""
	for _, cp := range out.CommonPrefixes {
		path, name := p.name(cp.Prefix, "/")
		if name != "" {
			p.Entries = append(p.Entries, Entry{Kind: KindDir, Object: Object{Key: path[len(s.prefix):]}})
			last = max(last, name+"/")
		}
	}
	for i := range out.Contents {
		path, name := p.name(out.Contents[i].Key, "")
		if name != "" {
			s.addObject(p, path, &out.Contents[i])
			last = max(last, name)
		}
	}
	var shadowed []string
	p.Entries, shadowed = orderEntries(p.Entries)
	for _, key := range shadowed {
		p.hide(s.prefix+key, isDirectory)
	}
	if !aws.ToBool(out.IsTruncated) {
		return nil
	}
	if p.Next = aws.ToString(out.NextContinuationToken); p.Next == "" {
		return errors.New("store truncates the listing without a continuation token")
	}
	if !s.isDirectoryBucket() {
		p.Through = last
	}
	return nil
}

// addObject adds the listed object at path to the page.
func (s *S3) addObject(p *listedPage, path string, o *types.Object) {
	restored := o.RestoreStatus != nil && o.RestoreStatus.RestoreExpiryDate != nil
	obj, err := s.object(path[len(s.prefix):], aws.ToInt64(o.Size), aws.ToTime(o.LastModified), o.ETag,
		isArchive(string(o.StorageClass)) && !restored)
	if err != nil {
		p.hide(path, unversioned)
		return
	}
	p.Entries = append(p.Entries, Entry{Object: obj})
}

// object builds an Object; one without an ETag or a date cannot be read
// consistently.
func (s *S3) object(key string, size int64, mod time.Time, etag *string, archived bool) (Object, error) {
	o := Object{Key: key, Size: size, ModTime: mod, Version: etagVersion(etag), Archived: archived}
	if o.Version == "" && !mod.IsZero() {
		o.Version = datedVersion(mod, size)
	}
	if o.Version == "" {
		return o, fmt.Errorf("%s: store gives neither ETag nor date: its versions cannot be told apart", s.uri(key))
	}
	return o, nil
}

// datedPrefix begins the version of an object that has no ETag. With its space
// it is not the beginning of any.
const datedPrefix = "modified "

// datedVersion is the version of an object without an ETag. Answers to GET and
// HEAD tell the second of the modification, and no more.
func datedVersion(mod time.Time, size int64) string {
	return fmt.Sprintf("%s%d, %d bytes", datedPrefix, mod.Unix(), size)
}

// isDated tells whether a version is one of datedVersion.
func isDated(version string) bool { return strings.HasPrefix(version, datedPrefix) }

// etagVersion is an ETag without its quotes: stores differ in whether listings
// quote it.
func etagVersion(etag *string) string {
	return strings.Trim(strings.TrimPrefix(aws.ToString(etag), "W/"), `"`)
}

// isArchive reports whether objects of a storage class must be restored before
// they can be read. GLACIER_IR needs no restore.
func isArchive(class string) bool {
	return class == string(types.StorageClassGlacier) || class == string(types.StorageClassDeepArchive)
}

// keyDecoder undoes the URL encoding of a listing where the store says that it
// applied it: a key may hold bytes that XML cannot.
func keyDecoder(encoding types.EncodingType) func(string) string {
	if encoding != types.EncodingTypeUrl {
		return func(s string) string { return s }
	}
	return func(s string) string {
		if dec, err := url.QueryUnescape(s); err == nil {
			return dec
		}
		return s
	}
}
