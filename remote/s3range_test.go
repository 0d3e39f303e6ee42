package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rangeWire answers a store's first request by a head that somebody made up, and
// every other one as it should be. Its bodies are true: those of the range and
// of the version that the head claims. What cannot be told from the head to be
// wrong is therefore right.
type rangeWire struct {
	object []byte
	head   string // of the first answer
	length int    // of its body
	asked  int
}

func (w *rangeWire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked++
	if w.asked == 1 {
		return w.madeUp(r)
	}
	var first, last int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
		return nil, err
	}
	return answer(r, http.StatusPartialContent, map[string]string{
		"Etag": `"v"`, "Content-Range": fmt.Sprintf("bytes %d-%d/%d", first, last, len(w.object)),
	}, string(w.object[first:last+1])), nil
}

// madeUp is the first answer, through the parser of net/http.
func (w *rangeWire) madeUp(r *http.Request) (*http.Response, error) {
	head := strings.TrimRight(w.head, "\n") + "\n\n"
	claim, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), r)
	if err != nil {
		return nil, err
	}
	claim.Body.Close()
	body := bytes.NewBufferString(head)
	if len(claim.TransferEncoding) == 0 {
		body.Write(w.claimed(claim))
	} else {
		chunks := httputil.NewChunkedWriter(body)
		if _, err := chunks.Write(w.claimed(claim)); err != nil {
			return nil, err
		}
		if err := chunks.Close(); err != nil {
			return nil, err
		}
		body.WriteString("\r\n")
	}
	return http.ReadResponse(bufio.NewReader(body), r)
}

// claimed is the body of the range and version that the head claims, at most
// length bytes of it, and of another object where it claims none.
func (w *rangeWire) claimed(claim *http.Response) []byte {
	other := bytes.Repeat([]byte("#"), w.length)
	// The SDK takes more for blanks than HTTP does.
	field := func(name string) string { return strings.TrimSpace(claim.Header.Get(name)) }
	etag := field("Etag")
	if etagVersion(&etag) != "v" {
		return other
	}
	if claim.StatusCode == http.StatusOK {
		return w.object[:min(w.length, len(w.object))]
	}
	first := uint(len(w.object))
	if _, err := fmt.Sscanf(field("Content-Range"), "bytes %d-", &first); err != nil ||
		claim.StatusCode != http.StatusPartialContent || first > uint(len(w.object)) {
		return other
	}
	rest := w.object[first:]
	return rest[:min(w.length, len(rest))]
}

// FuzzRange reads a range of an object, the first answer of which has any head
// and a body of any length: what comes is the range, or an error, with and
// without the retries.
func FuzzRange(f *testing.F) {
	for _, c := range rangeHeads() {
		f.Add(c.head, c.length, c.off, c.n)
	}
	// Its parts differ from each other, and from the length of a chunk.
	wire := &rangeWire{object: make([]byte, 1000)}
	for i := range wire.object {
		wire.object[i] = "GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz"[(i+i/40)%40]
	}
	s := newWired(f, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, wire.RoundTrip)
	f.Fuzz(func(t *testing.T, head string, length, off, n uint16) {
		// A second head's end would let the head bring a body of its own.
		wire.head, _, _ = strings.Cut(strings.ReplaceAll(head, "\r", ""), "\n\n")
		wire.length = int(length)
		obj := Object{Key: "k", Size: int64(len(wire.object)), Version: "v"}
		begin := int64(off) % obj.Size
		size := min(int64(n), obj.Size-begin)
		synctest.Test(t, func(t *testing.T) {
			for _, store := range []Store{s, WithRetry(s, RetryPolicy{Attempts: 3, StallTimeout: time.Second})} {
				wire.asked = 0
				checkRangeOf(t, store, obj, begin, wire.object[begin:begin+size])
			}
		})
	})
}

// checkRangeOf holds that reading want gives it, or a part and an error.
func checkRangeOf(t *testing.T, store Store, obj Object, off int64, want []byte) {
	t.Helper()
	body, err := store.OpenRange(t.Context(), obj, off, int64(len(want)))
	if err != nil {
		return
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if !bytes.HasPrefix(want, got) {
		t.Errorf("%T read %q of %q", store, got, want)
	}
	if err == nil && len(got) < len(want) {
		t.Errorf("%T read %d bytes of %d without an error", store, len(got), len(want))
	}
}

// rangeHead is an answer to a request for n bytes from off on.
type rangeHead struct {
	head           string
	length, off, n uint16
}

func rangeHeads() []rangeHead {
	const ok, etag = "HTTP/1.1 206 Partial Content\n", "ETag: \"v\"\n"
	return []rangeHead{
		{ok + etag + "Content-Range: bytes 7-16/1000\nContent-Length: 10", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/*\nTransfer-Encoding: chunked", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\nContent-Length: 10", 4, 7, 10}, // cut off
		{ok + etag + "Content-Range: bytes 7-16/1000\nContent-Length: 4", 4, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\nContent-Length: 20", 20, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\nTransfer-Encoding: chunked", 20, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\nConnection: close", 3, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\nContent-Encoding: gzip\nContent-Length: 10", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 8-17/1000\nContent-Length: 10", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1001\nContent-Length: 10", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 7-15/1000\nContent-Length: 9", 9, 7, 10},
		{ok + etag + "Content-Range: bytes 7-16/1000\f\nContent-Length: 4", 4, 7, 10},
		{ok + "ETag: \"v\"\v\nContent-Range: \u0085bytes 7-16/1000\nContent-Length: 10", 10, 7, 10},
		{ok + etag + "Content-Range: bytes 0-9/1000\nContent-Range: bytes 7-16/1000", 10, 7, 10},
		{ok + etag + "Content-Length: 10", 10, 7, 10},
		{ok + "ETag: \"w\"\nContent-Range: bytes 7-16/1000\nContent-Length: 10", 10, 7, 10},
		{ok + "ETag: W/\"v\"\nContent-Range: bytes 7-16/1000\nContent-Length: 10", 10, 7, 10},
		{ok + "Content-Range: bytes 7-16/1000\nContent-Length: 10", 10, 7, 10},
		{"HTTP/1.1 200 OK\n" + etag + "Content-Length: 1000", 1000, 0, 1000},
		{"HTTP/1.1 200 OK\n" + etag + "Content-Length: 1000", 1000, 7, 10},
		{"HTTP/1.0 206\n" + etag + "Content-Range: bytes 0-0/1000", 1, 0, 1},
		{"HTTP/1.1 204 No Content\n" + etag + "Content-Range: bytes 7-16/1000", 0, 7, 10},
		{"HTTP/1.1 304 Not Modified\n" + etag, 0, 7, 10},
		{"HTTP/1.1 412 Precondition Failed", 0, 7, 10},
		{"HTTP/1.1 416 Range Not Satisfiable\nContent-Range: bytes */5", 0, 7, 10},
		{"HTTP/1.1 503 Slow Down\nRetry-After: 3\nContent-Length: 0", 0, 7, 10},
		{"HTTP/1.1 307 Temporary Redirect\nLocation: /elsewhere", 0, 7, 10},
	}
}
