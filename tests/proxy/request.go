package proxy

import (
	"fmt"
	"net/http"
	"strings"
)

// Request is what the proxy knows of one request.
type Request struct {
	// Op is the method, but "LIST" for a GET of a bucket or of the account.
	Op string
	// Key names the object; for a LIST it is the prefix.
	Key string
	// Offset and Length are of the Range header: Length is -1 where it has no
	// end and 0 where there is no such header.
	Offset, Length int64
	// AccessKey is of the credentials that sign it, "" without.
	AccessKey string
	// Conn numbers the client connections from 1 and Seq all requests from 1.
	Conn, Seq int64
}

// describe returns what is known of a request but for its numbers.
func describe(r *http.Request) Request {
	req := Request{Op: r.Method}
	_, req.Key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Method == "GET" && req.Key == "" {
		req.Op = "LIST"
		req.Key = r.URL.Query().Get("prefix")
	}
	req.Offset, req.Length = parseRange(r.Header.Get("Range"))
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	req.AccessKey, _, _ = strings.Cut(credential, "/")
	return req
}

// parseRange reads "bytes=FIRST-[LAST]"; anything else is no range.
func parseRange(value string) (offset, length int64) {
	var last int64
	if n, _ := fmt.Sscanf(value, "bytes=%d-%d", &offset, &last); n == 2 {
		return offset, last - offset + 1
	}
	if n, _ := fmt.Sscanf(value, "bytes=%d-", &offset); n == 1 {
		return offset, -1
	}
	return 0, 0
}
