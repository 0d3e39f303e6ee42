package remote

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// noKeys keeps every source of credentials but the given files away.
func noKeys(t *testing.T, config, shared string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": shared, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
}

// TestOutputOfCredentialProcessStaysSecret has one write what is not JSON.
func TestOutputOfCredentialProcessStaysSecret(t *testing.T) {
	const secret = "wJalrXUtnFEMI"
	output := `{"Version":1,"AccessKeyId":"K","SecretAccessKey":"` + secret + `",}`
	file := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(file, []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\ncredential_process = cat "+file+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	noKeys(t, config, "/dev/null")
	_, err := newS3(t.Context(), Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"})
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "credential_process") {
		t.Errorf("error = %v", err)
	}
}
