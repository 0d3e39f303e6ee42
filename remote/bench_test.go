package remote_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"weightfs/remote"
)

// BenchmarkOpenRange compares one part through each layer with the same part
// through net/http alone, over the same loopback server.
func BenchmarkOpenRange(b *testing.B) {
	const part = 8 << 20
	data := bytesOf(part)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("list-type") {
			io.WriteString(w, "<ListBucketResult/>")
			return
		}
		w.Header().Set("ETag", `"v"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	b.Cleanup(web.Close)
	b.Setenv("AWS_ACCESS_KEY_ID", "KEY")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
	store := openS3(b, "bucket", "", remote.S3Config{EndpointURL: web.URL})
	obj := remote.Object{Key: "file", Size: part, Version: "v"}
	ranged := func(s remote.Store) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return s.OpenRange(b.Context(), obj, 0, part) }
	}
	client := &http.Client{Transport: &http.Transport{ReadBufferSize: 32 << 10}}
	b.Cleanup(client.CloseIdleConnections)
	bare := func() (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, web.URL+"/bucket/file", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Range", "bytes=0-"+strconv.Itoa(part-1))
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	b.Run("net-http", func(b *testing.B) { benchParts(b, part, bare) })
	b.Run("S3", func(b *testing.B) { benchParts(b, part, ranged(store)) })
	b.Run("Retrying", func(b *testing.B) {
		benchParts(b, part, ranged(remote.WithRetry(store, remote.RetryPolicy{})))
	})
}

// benchParts reads the part into the same memory again and again.
func benchParts(b *testing.B, part int64, open func() (io.ReadCloser, error)) {
	buf := make([]byte, part)
	b.SetBytes(part)
	b.ReportAllocs()
	for b.Loop() {
		body, err := open()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(body, buf); err != nil {
			b.Fatal(err)
		}
		body.Close()
	}
}
