package proxy

import (
	"fmt"
	"net/url"
	"strings"
)

// Request is what the proxy knows of one request.
type Request struct {
	// Op is the method, but "LIST" for a GET of a bucket or of the account.
	Op string
	// Bucket and Key name the object; for a LIST Key is the prefix.
	Bucket, Key string
	// Query is the raw query.
	Query string
	// Offset and Length are of the Range header: Length is -1 where it has no
	// end and 0 where there is no such header.
	Offset, Length int64
	// AccessKey is of the credentials that sign it, "" without.
	AccessKey string
	// Conn numbers the client connections from 1 and Seq all requests from 1.
	Conn, Seq int64
}

// parseRequest reads the start line and the Range header of h.
func parseRequest(h *Head) (Request, error) {
	method, rest, _ := strings.Cut(h.start, " ")
	target, version, ok := strings.Cut(rest, " ")
	if !ok || version != "HTTP/1.1" {
		return Request{}, fmt.Errorf("%w: %q", errHead, h.start)
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return Request{}, fmt.Errorf("%w: %w", errHead, err)
	}
	req := Request{Op: method, Query: u.RawQuery}
	req.Bucket, req.Key, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if method == "GET" && req.Key == "" {
		req.Op = "LIST"
		req.Key = u.Query().Get("prefix")
	}
	req.Offset, req.Length = parseRange(h.Get("Range"))
	_, credential, _ := strings.Cut(h.Get("Authorization"), "Credential=")
	req.AccessKey, _, _ = strings.Cut(credential, "/")
	return req, nil
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
