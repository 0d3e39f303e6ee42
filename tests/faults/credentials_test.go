package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weightfs/tests/harness"
	"weightfs/tests/proxy"
)

// issuer hands out the server's credentials (which knows no session tokens), as a token service or the
// credential endpoint of a container does, to who shows the current token.
type issuer struct {
	url string

	mu     sync.Mutex
	token  string // the current one; guarded by mu
	issued int    // guarded by mu
}

// startIssuer runs one until the test ends.
func startIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// rotate writes a new token to the file; the one before is worthless from then
// on.
func (i *issuer) rotate(t *testing.T, file, token string) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = token
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Error(err)
	}
}

// count is how many credentials were handed out.
func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.issued
}

// ServeHTTP answers AssumeRoleWithWebIdentity, a POST, and a container's GET.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	shown := r.Header.Get("Authorization")
	if r.Method == http.MethodPost {
		shown = r.FormValue("WebIdentityToken")
	}
	if shown != i.token {
		http.Error(w, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>", http.StatusBadRequest)
		return
	}
	i.issued++
	server, expires := theStage.server, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	if r.Method == http.MethodPost {
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, server.AccessKey, server.SecretKey, expires)
		return
	}
	json.NewEncoder(w).Encode(map[string]string{
		"AccessKeyId": server.AccessKey, "SecretAccessKey": server.SecretKey, "Expiration": expires,
	})
}

// TestCredentialsExpire holds that credentials which expire in the middle of a
// read are renewed with the token file as it is then, invisibly.
func TestCredentialsExpire(t *testing.T) {
	for name, env := range map[string]func(url, file string) []string{
		"web identity": func(url, file string) []string {
			return []string{"AWS_ENDPOINT_URL_STS=" + url, "AWS_WEB_IDENTITY_TOKEN_FILE=" + file, "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/reader"}
		},
		"container": func(url, file string) []string {
			return []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + file}
		},
	} {
		for _, way := range ways() {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				seen := seenBy(t, "intact, renewed")
				issuer, file := startIssuer(t), filepath.Join(t.TempDir(), "token")
				issuer.rotate(t, file, "first")
				p := proxy.Start(t, theStage.server.Endpoint)
				m := mountFor(t, harness.MountOptions{
					Source: "s3://" + bucket, Args: []string{"--memory-limit", "128Mi", "--part-size", "1Mi"},
					Env: append(append(theStage.server.Env(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_ENDPOINT_URL="+p.Endpoint),
						env(issuer.url, file)...),
				})
				before := issuer.count()
				issuer.rotate(t, file, "second")
				p.SetRules(1, proxy.Rule{
					Op: "GET", Skip: 5, When: func(proxy.Request) bool { return issuer.count() == before },
					Fault: proxy.Fault{Status: 400, Code: "ExpiredToken"},
				})
				r := &rig{t: t, mount: m, proxy: p}
				fmt.Fprintf(seen, "%v, issued %d times", must(t, r.read(way)), issuer.count())
				if p.Stats().Faults == 0 || issuer.count() == before {
					t.Errorf("%d requests were refused, credentials were issued %d times", p.Stats().Faults, issuer.count())
				}
			})
		}
	}
}

// TestNoCredentials holds that who has none is told at once.
func TestNoCredentials(t *testing.T) {
	seen := seenBy(t, "exit 1 at once")
	began := time.Now()
	env := append(theStage.server.Env(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=")
	result := runChild(t, env, theStage.Mountd, "s3://"+bucket, t.TempDir())
	fmt.Fprintf(seen, "exit %d after %.1f s", result.Code, time.Since(began).Seconds())
	if result.Code != 1 || !strings.Contains(result.Stderr, "credentials") {
		t.Errorf("exit %d: %s", result.Code, result.Stderr)
	}
}
