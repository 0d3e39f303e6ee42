package remote

import (
	"errors"
	"net/http"
	"testing"
)

// TestAnswerWithoutETag reads from a gateway that drops ETag, and so may have
// dropped If-Match too.
func TestAnswerWithoutETag(t *testing.T) {
	requests := 0
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
		requests++
		return answer(r, 206, map[string]string{"Content-Range": "bytes 0-3/4"}, "data"), nil
	})
	_, err := WithRetry(s, RetryPolicy{}).OpenRange(t.Context(), Object{Key: "k", Size: 4, Version: "1"}, 0, 4)
	if !errors.Is(err, ErrChanged) || requests != maxSuspect {
		t.Errorf("%v after %d requests", err, requests)
	}
}
