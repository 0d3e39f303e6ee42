package proxy

import (
	"errors"
	"testing"
)

func TestParseRequest(t *testing.T) {
	tests := []struct {
		start, fields string
		want          Request
	}{
		{"GET /b/a/k%20x HTTP/1.1", "Range: bytes=8-15\r\n", Request{Op: "GET", Bucket: "b", Key: "a/k x", Offset: 8, Length: 8}},
		{"GET /b/k?x-id=GetObject HTTP/1.1", "Range: bytes=8-\r\n", Request{Op: "GET", Bucket: "b", Key: "k", Query: "x-id=GetObject", Offset: 8, Length: -1}},
		{"GET /b?list-type=2&prefix=a%2Fb HTTP/1.1", "", Request{Op: "LIST", Bucket: "b", Key: "a/b", Query: "list-type=2&prefix=a%2Fb"}},
		{"GET /b/?list-type=2 HTTP/1.1", "", Request{Op: "LIST", Bucket: "b", Query: "list-type=2"}},
		{"GET / HTTP/1.1", "", Request{Op: "LIST"}},
		{"HEAD /b/k HTTP/1.1", "Authorization: AWS4-HMAC-SHA256 Credential=KEY/day/region/s3, Signature=x\r\n",
			Request{Op: "HEAD", Bucket: "b", Key: "k", AccessKey: "KEY"}},
	}
	for _, tt := range tests {
		got, err := parseRequest(mustHead(t, tt.start+"\r\n"+tt.fields+"\r\n"))
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.start, got, err)
		}
	}
	for _, start := range []string{"GET /", "GET / HTTP/1.0", "GET %zz HTTP/1.1", "nonsense"} {
		if _, err := parseRequest(&Head{start: start}); !errors.Is(err, errHead) {
			t.Errorf("%q: %v", start, err)
		}
	}
}
