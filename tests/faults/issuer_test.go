package faults

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weightfs/tests/proxy"
)

// issuer hands out keys of the server, to who shows the current token: as a
// token service or the credential endpoint of a container does.
type issuer struct {
	t        *testing.T
	url      string
	file     string        // of the token
	lifetime time.Duration // of what is handed out; 0 is an hour, of the owner's keys

	issued      atomic.Int64 // keys that were handed out
	refused     atomic.Int64 // requests with keys that had expired
	distrusting atomic.Bool  // the token is worthless, and there is no other

	mu      sync.Mutex
	token   string               // the current one; guarded by mu
	expires map[string]time.Time // by access key; guarded by mu
}

// startIssuer runs one until the test ends.
func startIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, file: filepath.Join(t.TempDir(), "token"), expires: map[string]time.Time{}}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	i.rotate("the-first-token")
	return i
}

// rotate writes a new token to the file; the one before is worthless from then
// on.
func (i *issuer) rotate(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = token
	if err := os.WriteFile(i.file, []byte(token), 0o600); err != nil {
		i.t.Error(err)
	}
}

// distrust makes the token worthless without giving another.
func (i *issuer) distrust() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = rand.Text()
	i.distrusting.Store(true)
}

// sources are the environments by which a client finds the issuer, by name.
func sources() map[string]func(i *issuer) []string {
	return map[string]func(*issuer) []string{
		"web identity": func(i *issuer) []string {
			return i.env("AWS_ENDPOINT_URL_STS="+i.url, "AWS_WEB_IDENTITY_TOKEN_FILE="+i.file, "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/reader")
		},
		"container": func(i *issuer) []string {
			return i.env("AWS_CONTAINER_CREDENTIALS_FULL_URI="+i.url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+i.file)
		},
	}
}

// env is the server's environment with extra in place of its keys.
func (i *issuer) env(extra ...string) []string {
	return append(append(theStage.Server.Env(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="), extra...)
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
		refuseToken(w, r)
		return
	}
	access, secret, expires, err := i.issue()
	if err != nil {
		i.t.Error(err)
		return
	}
	at := expires.UTC().Format(time.RFC3339)
	if r.Method == http.MethodPost {
		// The server knows no session tokens.
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, access, secret, at)
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": access, "SecretAccessKey": secret, "Expiration": at})
}

// refuseToken answers as either issuer does where the token is not the current one.
func refuseToken(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>not yours</Message></Error></ErrorResponse>")
		return
	}
	w.WriteHeader(http.StatusUnauthorized)
	fmt.Fprint(w, "InvalidIdentityToken: not yours") // in prose, as agents do
}

// issue returns keys: the owner's, or fresh ones of an account that lives for a
// while. The lock is held.
func (i *issuer) issue() (access, secret string, expires time.Time, err error) {
	i.issued.Add(1)
	if i.lifetime == 0 {
		return theStage.Server.AccessKey, theStage.Server.SecretKey, time.Now().Add(time.Hour), nil
	}
	access, secret, expires = rand.Text(), rand.Text(), time.Now().Add(i.lifetime).Truncate(time.Second)
	i.expires[access] = expires
	return access, secret, expires, theStage.Server.AddAccount(context.WithoutCancel(i.t.Context()), access, secret)
}

// expired tells whether the keys that signed a request have, and counts such
// requests.
func (i *issuer) expired(r proxy.Request) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	expires, ok := i.expires[r.AccessKey]
	if !ok || time.Now().Before(expires) {
		return false
	}
	i.refused.Add(1)
	return true
}
