package remote

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRewrittenCredentialsFile has the keys of the shared file expire after
// others were written there.
func TestRewrittenCredentialsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = SECRET\naws_session_token = TOKEN\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("OLD")
	noKeys(t, "/dev/null", file)
	s, err := newS3(t.Context(), Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	s.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential=NEW/") {
			return answer(r, 200, nil, "<ListBucketResult/>"), nil
		}
		return answer(r, 400, nil, "<Error><Code>ExpiredToken</Code></Error>"), nil
	})
	write("NEW")
	for _, err := range List(t.Context(), WithRetry(s, RetryPolicy{}), "") {
		t.Error(err)
	}
}
