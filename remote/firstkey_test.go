package remote

import (
	"net/http"
	"testing"
)

// TestFirstKeyCannotBeXML starts at a store whose first key needs encoding.
func TestFirstKeyCannotBeXML(t *testing.T) {
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		key, encoding := "a\x01", ""
		if r.URL.Query().Get("encoding-type") == "url" {
			key, encoding = "a%01", "<EncodingType>url</EncodingType>"
		}
		return answer(r, 200, nil, "<ListBucketResult>"+encoding+"<Contents><Key>"+key+"</Key></Contents></ListBucketResult>"), nil
	})
	key, err := s.firstKey(t.Context(), WithRetry(s, startPolicy()), "")
	if err != nil || key != "a\x01" {
		t.Errorf("first key %q, %v", key, err)
	}
}
