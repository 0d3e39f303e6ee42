package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// realStore is a bucket of the real server, which keeps objects as files.
type realStore struct{ bucket string }

func (s realStore) put(key string, content []byte) error {
	return theStage.server.Put(context.Background(), s.bucket, key, bytes.NewReader(content))
}

func (s realStore) remove(key string) error {
	return theStage.server.Delete(context.Background(), s.bucket, key)
}

// pageKeys is how many names a page of a memoryStore's listing has.
const pageKeys = 3

// memoryStore is an S3 server for keys that no file system can hold together,
// which changes and lists in many pages.
type memoryStore struct {
	mu      sync.Mutex
	objects map[string][]byte // guarded by mu
}

// startMemoryStore runs one until the test ends and returns the variables that
// lead clients to it.
func startMemoryStore(t *testing.T) (s *memoryStore, env []string) {
	t.Helper()
	s = &memoryStore{objects: map[string][]byte{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, append(theStage.server.Env(), "AWS_ENDPOINT_URL="+server.URL)
}

func (s *memoryStore) put(key string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = content
	return nil
}

func (s *memoryStore) remove(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func contentTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// ServeHTTP answers listings, GETs and HEADs.
func (s *memoryStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		w.Header().Set("Content-Type", "application/xml")
		xml.NewEncoder(w).Encode(s.list(r.URL.Query()))
		return
	}
	s.mu.Lock()
	content, found := s.objects[key]
	s.mu.Unlock()
	if !found {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		return
	}
	w.Header().Set("ETag", contentTag(content))
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(content))
}

// page is a page of a listing.
type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string
	IsTruncated           bool
	Contents              []listedKey
	CommonPrefixes        []listedPrefix
	NextContinuationToken string `xml:",omitempty"`
}

type listedKey struct {
	Key, LastModified, ETag string
	Size                    int
}

type listedPrefix struct{ Prefix string }

// list answers with the names after the token, which is the last one of the page
// before.
func (s *memoryStore) list(query url.Values) page {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := page{EncodingType: "url"}
	last, _ := url.QueryUnescape(query.Get("continuation-token")) // "" is the beginning
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		rest, ok := strings.CutPrefix(key, query.Get("prefix"))
		name := key
		folder, _, inFolder := strings.Cut(rest, "/")
		if inFolder = inFolder && query.Has("delimiter"); inFolder {
			name = query.Get("prefix") + folder + "/"
		}
		if !ok || name <= last {
			continue
		}
		if len(out.Contents)+len(out.CommonPrefixes) == pageKeys {
			out.IsTruncated, out.NextContinuationToken = true, url.QueryEscape(last)
			break
		}
		last = name
		if inFolder {
			out.CommonPrefixes = append(out.CommonPrefixes, listedPrefix{url.QueryEscape(name)})
			continue
		}
		content := s.objects[name]
		out.Contents = append(out.Contents, listedKey{url.QueryEscape(name), "2024-05-01T12:00:00Z", contentTag(content), len(content)})
	}
	return out
}
