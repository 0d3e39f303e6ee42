package rig

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// KeyServer is an S3 server in memory, for keys that no folder can hold, or more of
// them than can be uploaded in a short time. It answers listings, GETs and HEADs of
// one bucket, whatever its name. The zero value is empty; it is safe for concurrent use.
type KeyServer struct {
	// PageSize is how many names a page of a listing has at most; 0 is 1,000. It is
	// not changed while a request is answered.
	PageSize int
	// Gets and Lists count the requests for objects and for pages.
	Gets, Lists atomic.Int64

	mu      sync.Mutex
	objects map[string]KeyObject // guarded by mu
	sorted  []string             // guarded by mu; the keys, nil while they are not sorted
}

// KeyObject is what a [KeyServer] has at a key.
type KeyObject struct {
	Content io.ReaderAt
	Size    int64
	ETag    string // in quotes
	Class   string // the storage class
}

// Bytes is an object of that content.
func Bytes(content []byte) KeyObject {
	sum := sha256.Sum256(content)
	return KeyObject{Content: bytes.NewReader(content), Size: int64(len(content)), ETag: `"` + hex.EncodeToString(sum[:16]) + `"`}
}

// Zeroes is an object of n zeroes.
func Zeroes(n int64) KeyObject { return KeyObject{Content: zeroes{}, Size: n, ETag: `"1"`} }

// Start serves until the test ends and returns the URL.
func (s *KeyServer) Start(tb testing.TB) string {
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return server.URL
}

// Put puts an object at key.
func (s *KeyServer) Put(key string, o KeyObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = map[string]KeyObject{}
	}
	s.objects[key], s.sorted = o, nil
}

// Remove removes the object at key.
func (s *KeyServer) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	s.sorted = nil
}

// ServeHTTP implements [http.Handler].
func (s *KeyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(r.URL.Path[1:], "/")
	if key == "" {
		s.Lists.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		_ = xml.NewEncoder(w).Encode(s.page(r.URL.Query())) // a client that is gone
		return
	}
	if r.Method == http.MethodGet {
		s.Gets.Add(1)
	}
	s.mu.Lock()
	o, found := s.objects[key]
	s.mu.Unlock()
	if !found {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		return
	}
	w.Header().Set("ETag", o.ETag)
	http.ServeContent(w, r, "", time.Unix(1e9, 0), io.NewSectionReader(o.Content, 0, o.Size))
}

// keyPage is a page of a listing.
type keyPage struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string   `xml:",omitempty"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []keyListed
	CommonPrefixes        []keyPrefix
}

type keyListed struct {
	Key, LastModified, ETag string
	Size                    int64
	StorageClass            string `xml:",omitempty"`
}

type keyPrefix struct{ Prefix string }

// page answers a listing with the names after the token, which is the last one of
// the page before.
func (s *KeyServer) page(query url.Values) keyPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sorted == nil {
		s.sorted = slices.Sorted(maps.Keys(s.objects))
	}
	page := keyPage{EncodingType: query.Get("encoding-type")}
	encode := func(name string) string { return name }
	if page.EncodingType == "url" {
		encode = func(name string) string { return strings.ReplaceAll(url.QueryEscape(name), "%2F", "/") }
	}
	left := s.PageSize
	if left == 0 {
		left = 1000
	}
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		left = min(left, n)
	}
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	last, _ := url.QueryUnescape(query.Get("continuation-token")) // a key need not be XML
	at, _ := slices.BinarySearch(s.sorted, prefix)
	if last != "" {
		at = s.after(last, prefix, delimiter)
	}
	for ; at < len(s.sorted) && strings.HasPrefix(s.sorted[at], prefix); at = s.after(last, prefix, delimiter) {
		if left == 0 {
			page.IsTruncated, page.NextContinuationToken = true, url.QueryEscape(last)
			break
		}
		left--
		key := s.sorted[at]
		if name, _, deeper := strings.Cut(key[len(prefix):], delimiter); deeper && delimiter != "" {
			last = prefix + name + delimiter
			page.CommonPrefixes = append(page.CommonPrefixes, keyPrefix{encode(last)})
			continue
		}
		last = key
		o := s.objects[key]
		page.Contents = append(page.Contents, keyListed{encode(key), "2024-05-01T12:00:00Z", o.ETag, o.Size, o.Class})
	}
	return page
}

// after is the index of the first key behind a name of a listing: a key, or a prefix
// that stands for all keys below it. mu is held.
func (s *KeyServer) after(name, prefix, delimiter string) int {
	if delimiter != "" && name != prefix && strings.HasSuffix(name, delimiter) {
		end := len(name) - 1
		at, _ := slices.BinarySearch(s.sorted, name[:end]+string(name[end]+1)) // where what has this prefix ends
		return at
	}
	at, found := slices.BinarySearch(s.sorted, name)
	if found {
		at++
	}
	return at
}

// zeroes is a file without an end.
type zeroes struct{}

func (zeroes) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
