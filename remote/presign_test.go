package remote

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestPresign holds what is in a URL that others read by, for each kind of bucket.
func TestPresign(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 5, 0, 0, time.UTC)
	const account = "123456789012"
	for name, c := range map[string]struct {
		bucket, prefix string
		cfg            S3Config
		token          string
		want           string // the URL up to its query
		query          map[string]string
	}{
		"Amazon": {bucket: "plain", cfg: S3Config{Region: "eu-west-1"}, want: "https://plain.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd.safetensors"},
		"prefix": {bucket: "plain", prefix: "models", cfg: S3Config{Region: "eu-west-1"}, want: "https://plain.s3.eu-west-1.amazonaws.com/models/a%20b/c%2Bd.safetensors"},
		"path style": {bucket: "plain", cfg: S3Config{EndpointURL: "http://store:9000", ForcePathStyle: true},
			want: "http://store:9000/plain/a%20b/c%2Bd.safetensors"},
		"session": {bucket: "plain", cfg: S3Config{Region: "eu-west-1"}, token: "TOKEN", want: "https://plain.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd.safetensors",
			query: map[string]string{"X-Amz-Security-Token": "TOKEN"}},
		"requester pays": {bucket: "plain", cfg: S3Config{Region: "eu-west-1", RequesterPays: true}, want: "https://plain.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd.safetensors",
			query: map[string]string{"x-amz-request-payer": "requester"}},
		"access point": {bucket: "arn:aws:s3:us-west-2:" + account + ":accesspoint/ap",
			want: "https://ap-" + account + ".s3-accesspoint.us-west-2.amazonaws.com/a%20b/c%2Bd.safetensors"},
		"anonymous": {bucket: "plain", cfg: S3Config{Region: "eu-west-1", NoSignRequest: true}, want: "https://plain.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd.safetensors"},
		"Google": {bucket: "plain", cfg: S3Config{EndpointURL: "https://storage.googleapis.com"},
			want: "https://plain.storage.googleapis.com/a%20b/c%2Bd.safetensors"},
	} {
		s := newWired(t, Source{Bucket: c.bucket, Prefix: c.prefix}, c.cfg, nil)
		t.Setenv("AWS_SESSION_TOKEN", c.token)
		if c.token != "" {
			s = newWiredWithToken(t, c.bucket, c.cfg, c.token)
		}
		signed, err := s.Presign(t.Context(), Object{Key: "a b/c+d.safetensors"}, at, 15*time.Minute)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := WithRetry(s, RetryPolicy{}).Presign(t.Context(), Object{Key: "a b/c+d.safetensors"}, at, 15*time.Minute)
		if err != nil || again != signed {
			t.Errorf("%s: signed once more as of the same time: %v\n%s\n%s", name, err, signed, again)
		}
		path, query, _ := strings.Cut(signed, "?")
		if path != c.want {
			t.Errorf("%s: %s, want %s", name, path, c.want)
		}
		if c.cfg.NoSignRequest && query != "" {
			t.Errorf("%s: query %s", name, query)
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := map[string]string{"X-Amz-SignedHeaders": "host", "X-Amz-Expires": "900", "X-Amz-Date": "20300102T030500Z", "X-Amz-Security-Token": c.token, "x-amz-request-payer": ""}
		if c.cfg.NoSignRequest {
			want = nil
		} else if values.Get("X-Amz-Signature") == "" {
			t.Errorf("%s: no signature", name)
		}
		maps.Copy(want, c.query)
		for key, value := range want {
			if got := values.Get(key); got != value {
				t.Errorf("%s: %s=%q, want %q", name, key, got, value)
			}
		}
	}
}

// newWiredWithToken is newWired with credentials that are temporary.
func newWiredWithToken(t *testing.T, bucket string, cfg S3Config, token string) *S3 {
	t.Helper()
	t.Setenv("AWS_SESSION_TOKEN", token)
	s, err := newS3(t.Context(), Source{Bucket: bucket}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
