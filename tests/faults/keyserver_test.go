package faults

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyServer is an S3 server for keys that no file system can hold, which the
// real one is too good for. The content of an object is its key.
type keyServer struct {
	keys []string // sorted
}

// startKeyServer runs one until the test ends and returns the variables that
// lead clients to it.
func startKeyServer(t *testing.T, keys []string) (env []string) {
	t.Helper()
	server := httptest.NewServer(&keyServer{slices.Sorted(slices.Values(keys))})
	t.Cleanup(server.Close)
	return append(theStage.server.Env(), "AWS_ENDPOINT_URL="+server.URL)
}

type listing struct {
	XMLName        xml.Name `xml:"ListBucketResult"`
	EncodingType   string
	IsTruncated    bool
	Contents       []listedKey
	CommonPrefixes []listedPrefix
}

type listedKey struct {
	Key, LastModified, ETag string
	Size                    int
}

type listedPrefix struct{ Prefix string }

func etag(key string) string {
	h := fnv.New128a()
	h.Write([]byte(key))
	return fmt.Sprintf(`"%x"`, h.Sum(nil))
}

// ServeHTTP answers listings in one page, and GETs.
func (s *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		w.Header().Set("Content-Type", "application/xml")
		xml.NewEncoder(w).Encode(s.list(r.URL.Query()))
		return
	}
	if _, found := slices.BinarySearch(s.keys, key); !found {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", etag(key))
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader([]byte(key)))
}

func (s *keyServer) list(query url.Values) listing {
	out := listing{EncodingType: "url"}
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	last := ""
	for _, key := range s.keys {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			group := prefix + rest[:i+1]
			if group != last {
				out.CommonPrefixes = append(out.CommonPrefixes, listedPrefix{url.QueryEscape(group)})
			}
			last = group
			continue
		}
		out.Contents = append(out.Contents, listedKey{url.QueryEscape(key), "2024-05-01T12:00:00Z", etag(key), len(key)})
	}
	return out
}
