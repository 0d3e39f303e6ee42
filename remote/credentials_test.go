package remote

import (
	"errors"
	"io/fs"
	"net/http"
	"testing"
)

// TestRefusedCredentialsAreNoPermission answers as S3 and STS do, which say
// most of this by 400.
func TestRefusedCredentialsAreNoPermission(t *testing.T) {
	for _, code := range []string{"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "ExpiredTokenException",
		"InvalidIdentityToken", "TokenRefreshRequired"} {
		requests := 0
		s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(r *http.Request) (*http.Response, error) {
			requests++
			return answer(r, 400, nil, "<Error><Code>"+code+"</Code></Error>"), nil
		})
		_, err := WithRetry(s, RetryPolicy{}).OpenRange(t.Context(), Object{Key: "k", Size: 1, Version: "1"}, 0, 1)
		if !errors.Is(err, fs.ErrPermission) || requests > 2 {
			t.Errorf("%s: %v after %d requests", code, err, requests)
		}
	}
}
