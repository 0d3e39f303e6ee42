package rig

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// KeyServer is an S3 server of more keys than can be uploaded in a short time. Its
// objects are zeroes, and it lists them in pages of 1,000.
type KeyServer struct {
	// Sizes are the sizes of the objects by key. They do not change once a request
	// was answered.
	Sizes map[string]int64
	// Gets and Lists count the requests for objects and for pages.
	Gets, Lists atomic.Int64

	sort sync.Once
	keys []string // sorted
}

// ServeHTTP answers listings, GETs and HEADs.
func (s *KeyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.sort.Do(func() { s.keys = slices.Sorted(maps.Keys(s.Sizes)) })
	if _, key, _ := strings.Cut(r.URL.Path[1:], "/"); key != "" {
		s.serveObject(w, r, key)
		return
	}
	s.Lists.Add(1)
	query := r.URL.Query()
	fmt.Fprint(w, s.page(query.Get("prefix"), query.Get("delimiter"), query.Get("continuation-token")))
}

func (s *KeyServer) serveObject(w http.ResponseWriter, r *http.Request, key string) {
	size, found := s.Sizes[key]
	if !found {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		return
	}
	if r.Method == http.MethodGet {
		s.Gets.Add(1)
	}
	w.Header().Set("ETag", `"1"`)
	http.ServeContent(w, r, "", time.Unix(1e9, 0), io.NewSectionReader(zeroes{}, 0, size))
}

// page is the page of a listing that begins at the token, a key.
func (s *KeyServer) page(prefix, delimiter, token string) string {
	var page strings.Builder
	page.WriteString("<ListBucketResult>")
	at, _ := slices.BinarySearch(s.keys, max(prefix, token))
	for range 1000 {
		if at == len(s.keys) || !strings.HasPrefix(s.keys[at], prefix) {
			break
		}
		key := s.keys[at]
		end := strings.Index(key[len(prefix):], "/")
		if group := key[:len(prefix)+end+1]; delimiter != "" && end >= 0 {
			fmt.Fprintf(&page, `<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>`, group)
			at, _ = slices.BinarySearch(s.keys, group+"~")
			continue
		}
		fmt.Fprintf(&page, `<Contents><Key>%s</Key><LastModified>2024-05-01T12:00:00Z</LastModified><ETag>"1"</ETag><Size>%d</Size></Contents>`, key, s.Sizes[key])
		at++
	}
	more := at < len(s.keys) && strings.HasPrefix(s.keys[at], prefix)
	fmt.Fprintf(&page, `<IsTruncated>%s</IsTruncated>`, strconv.FormatBool(more))
	if more {
		fmt.Fprintf(&page, `<NextContinuationToken>%s</NextContinuationToken>`, s.keys[at])
	}
	page.WriteString("</ListBucketResult>")
	return page.String()
}

// zeroes is a file without an end.
type zeroes struct{}

func (zeroes) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
