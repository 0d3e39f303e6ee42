package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		method, target, field, value string
		want                         Request
	}{
		{"GET", "/b/a/k%20x", "Range", "bytes=8-15", Request{Op: "GET", Key: "a/k x", Offset: 8, Length: 8}},
		{"GET", "/b/k?x-id=GetObject", "Range", "bytes=8-", Request{Op: "GET", Key: "k", Offset: 8, Length: -1}},
		{"GET", "/b?list-type=2&prefix=a%2Fb", "", "", Request{Op: "LIST", Key: "a/b"}},
		{"GET", "/b/?list-type=2", "", "", Request{Op: "LIST"}},
		{"GET", "/", "", "", Request{Op: "LIST"}},
		{"HEAD", "/b/k", "Authorization", "AWS4-HMAC-SHA256 Credential=KEY/day/region/s3, Signature=x",
			Request{Op: "HEAD", Key: "k", AccessKey: "KEY"}},
	} {
		r := httptest.NewRequest(tt.method, tt.target, http.NoBody)
		r.Header.Set(tt.field, tt.value)
		if got := describe(r); got != tt.want {
			t.Errorf("%s %s: %+v", tt.method, tt.target, got)
		}
	}
}
