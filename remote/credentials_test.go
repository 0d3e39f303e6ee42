package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"weightfs/remote/retry"
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

// TestThrottledIssuer has STS refuse the first answers as it does when a fleet
// starts at once.
func TestThrottledIssuer(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>")
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(issuer.Close)
	noKeys(t, "/dev/null", "/dev/null")
	t.Setenv("AWS_ENDPOINT_URL_STS", issuer.URL)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
	s, err := newS3(t.Context(), Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"})
	if err != nil {
		t.Fatalf("after %d answers: %v", asked.Load(), err)
	}
	if err := s.Close(); err != nil || asked.Load() != 2 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
}

// TestCredentialsThatDoNotCome holds that a read which waits for them ends in its own
// time, and says what it has waited for.
func TestCredentialsThatDoNotCome(t *testing.T) {
	s := newWired(t, Source{Bucket: "plain"}, S3Config{Region: "eu-west-1"}, func(*http.Request) (*http.Response, error) {
		t.Error("a request without credentials")
		return nil, errors.New("unsigned")
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		s.creds.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			<-release
			return aws.Credentials{}, errors.New("too late")
		}))
		began := time.Now()
		_, err := WithRetry(s, RetryPolicy{ReadTimeout: time.Minute}).OpenRange(t.Context(), Object{Key: "k", Size: 1, Version: "1"}, 0, 1)
		if !errors.Is(err, retry.ErrStalled) || !strings.Contains(err.Error(), "credentials") || time.Since(began) > time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
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
