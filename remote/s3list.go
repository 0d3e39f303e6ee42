package remote

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// page is one answer to a listing.
type page struct {
	entries []Entry
	hidden  []hiddenKey
	any     bool   // a key, visible or not, or a directory marker was there
	next    string // continuation token; "" on the last page
}

// hiddenKey is a key that is left out of a listing.
type hiddenKey struct{ key, why string }

// Why keys are hidden.
const (
	cannotBeFile = "keys that cannot be file names"
	isDirectory  = "objects whose key is also a directory"
	unversioned  = "objects without an ETag, whose versions cannot be told apart"
)

// pageFetcher fetches the page of a directory that token names ("" the first).
type pageFetcher func(ctx context.Context, dir, token string) (page, error)

// List implements [Store]. A directory is held whole before its first entry is
// yielded, because S3 sorts "a-b" before "a/" and the directory "a" must come
// first.
func (s *S3) List(ctx context.Context, dir string) iter.Seq2[Entry, error] {
	return s.listWith(ctx, dir, s.listPage)
}

// listWith is List with the requests made by fetch.
func (s *S3) listWith(ctx context.Context, dir string, fetch pageFetcher) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		entries, err := s.readDir(ctx, dir, fetch)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// readDir collects all pages of dir and puts its entries in order.
func (s *S3) readDir(ctx context.Context, dir string, fetch pageFetcher) ([]Entry, error) {
	if dir != "" && !validKey(dir) {
		return nil, notExist("LIST", s.uri(dir))
	}
	var all page
	seen := map[string]bool{} // tokens
	for token := ""; ; {
		p, err := fetch(ctx, dir, token)
		if err != nil {
			return nil, err
		}
		all.entries = append(all.entries, p.entries...)
		all.hidden = append(all.hidden, p.hidden...)
		all.any = all.any || p.any
		if p.next == "" {
			break
		}
		if seen[p.next] {
			return nil, fmt.Errorf("LIST %s: store repeats the continuation token %.40q", s.uri(dir), token)
		}
		token = p.next
		seen[token] = true
	}
	if !all.any && dir != "" {
		return nil, notExist("LIST", s.uri(dir))
	}
	entries, shadowed := orderEntries(all.entries)
	for _, key := range shadowed {
		all.hide(s.prefix+key, isDirectory)
	}
	s.noteHidden(dir, all.hidden)
	return entries, nil
}

func (p *page) hide(key, why string) { p.hidden = append(p.hidden, hiddenKey{key, why}) }

// noteHidden counts the keys left out of dir and warns of the first of each kind.
func (s *S3) noteHidden(dir string, hidden []hiddenKey) {
	s.hidden.set(dir, int64(len(hidden)))
	for _, h := range hidden {
		if s.hidden.first(h.why) {
			s.log.Warn("hiding "+h.why+"; further ones are only counted", "key", s3URI(s.bucket, h.key))
		}
	}
}

// orderEntries sorts the entries of one directory by name as bytes. Where an
// object and a directory have the same name the directory stays; the keys of
// such objects are returned too.
func orderEntries(entries []Entry) (ordered []Entry, shadowed []string) {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), -cmp.Compare(a.Kind, b.Kind))
	})
	ordered = entries[:0]
	for _, e := range entries {
		if n := len(ordered); n > 0 && ordered[n-1].Key == e.Key {
			shadowed = append(shadowed, e.Key)
			continue
		}
		ordered = append(ordered, e)
	}
	return ordered, shadowed
}

// listPage fetches one page by one request.
func (s *S3) listPage(ctx context.Context, dir, token string) (page, error) {
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
	// Other stores, and directory buckets, may refuse what they do not know.
	if s.aws && !strings.HasSuffix(s.bucket, "--x-s3") {
		in.OptionalObjectAttributes = []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus}
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return page{}, newRequestError("LIST", s.uri(dir), 0, 0, err)
	}
	return s.parsePage(dir, out)
}

func dirPrefix(dir string) string {
	if dir == "" {
		return ""
	}
	return dir + "/"
}

// parsePage sorts the keys of one answer into entries and hidden keys.
func (s *S3) parsePage(dir string, out *s3.ListObjectsV2Output) (page, error) {
	decode := keyDecoder(out.EncodingType)
	base := s.prefix + dirPrefix(dir)
	p := page{any: len(out.Contents)+len(out.CommonPrefixes) > 0}
	p.entries = make([]Entry, 0, len(out.Contents)+len(out.CommonPrefixes))
	for _, cp := range out.CommonPrefixes {
		full := decode(aws.ToString(cp.Prefix))
		path, isDir := strings.CutSuffix(full, "/")
		name, below := strings.CutPrefix(path, base)
		if !isDir || !below || nameFault(name) != "" {
			p.hide(full, cannotBeFile)
			continue
		}
		p.entries = append(p.entries, Entry{Kind: KindDir, Object: Object{Key: path[len(s.prefix):]}})
	}
	for i := range out.Contents {
		s.addObject(&p, base, decode, &out.Contents[i])
	}
	if aws.ToBool(out.IsTruncated) {
		p.next = aws.ToString(out.NextContinuationToken)
		if p.next == "" {
			return page{}, fmt.Errorf("LIST %s: store truncates the listing without a continuation token", s.uri(dir))
		}
	}
	return p, nil
}

// addObject adds one listed object to the page.
func (s *S3) addObject(p *page, base string, decode func(string) string, o *types.Object) {
	full := decode(aws.ToString(o.Key))
	name, ok := strings.CutPrefix(full, base)
	if ok && name == "" {
		return // the directory's own marker
	}
	if !ok || nameFault(name) != "" {
		p.hide(full, cannotBeFile)
		return
	}
	restored := o.RestoreStatus != nil && o.RestoreStatus.RestoreExpiryDate != nil
	obj, err := s.object(full[len(s.prefix):], aws.ToInt64(o.Size), aws.ToTime(o.LastModified), o.ETag,
		isArchive(string(o.StorageClass)) && !restored)
	if err != nil {
		p.hide(full, unversioned)
		return
	}
	p.entries = append(p.entries, Entry{Object: obj})
}

// object builds an Object; one without an ETag cannot be read consistently.
func (s *S3) object(key string, size int64, mod time.Time, etag *string, archived bool) (Object, error) {
	o := Object{Key: key, Size: size, ModTime: mod, Version: etagVersion(etag), Archived: archived}
	if o.Version == "" {
		return o, fmt.Errorf("%s: store gives no ETag: its versions cannot be told apart", s.uri(key))
	}
	return o, nil
}

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
