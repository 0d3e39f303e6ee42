package fleet

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"weightfs/tests/rig"
)

// presign is a URL of a key at the store, in the way of a node.
func (s *scene) presign(key string) string {
	s.t.Helper()
	name := bucket
	client := s3.New(theStage.server.Client().Options(), func(o *s3.Options) { o.BaseEndpoint = &s.store.Endpoint })
	signed, err := s3.NewPresignClient(client).PresignGetObject(s.t.Context(), &s3.GetObjectInput{Bucket: &name, Key: &key})
	noError(s.t, err)
	return signed.URL
}

// etag is that of the scene's object.
func (s *scene) etag() string {
	s.t.Helper()
	name := bucket
	out, err := theStage.server.Client().HeadObject(s.t.Context(), &s3.HeadObjectInput{Bucket: &name, Key: &s.key})
	noError(s.t, err)
	return *out.ETag
}

// TestAccess holds who gets what of the cache, whatever it has: nothing that the
// store would refuse, and nothing that it could not keep apart.
func TestAccess(t *testing.T) {
	s := newSmallScene(t, 2)
	signed, etag := s.presign(s.key), s.etag()
	ask := func(edit func(*http.Request)) (int, string) {
		t.Helper()
		target, err := url.Parse(signed)
		noError(t, err)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.tier[0].url+target.RequestURI(), nil)
		noError(t, err)
		r.Host = s.storeHost()
		r.Header.Set("Range", "bytes=0-99")
		r.Header.Set("If-Match", etag)
		edit(r)
		response, err := http.DefaultTransport.RoundTrip(r)
		noError(t, err)
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		noError(t, err)
		return response.StatusCode, response.Header.Get("X-Cache-Status")
	}
	for _, want := range []string{"MISS", "HIT"} {
		if status, cached := ask(func(*http.Request) {}); status != 206 || cached != want {
			t.Fatalf("a node: %d, %s, want 206, %s", status, cached, want)
		}
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		edit func(*http.Request)
		want int
	}{
		"in absolute form": {func(r *http.Request) { r.URL.Opaque, r.URL.Path = "http://"+s.storeHost()+r.URL.EscapedPath(), "" }, 206},
		"unsigned":         {func(r *http.Request) { r.URL.RawQuery = "" }, 403},
		"forged": {func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Signature=", "X-Amz-Signature=0", 1)
		}, 403},
		"of another object":    {func(r *http.Request) { r.URL.RawQuery = mustCutQuery(s.presign("another")) }, 403},
		"a header's signature": {header("Authorization", "AWS4-HMAC-SHA256 Credential=x"), 206}, // which is not passed on
		"a foreign host":       {func(r *http.Request) { r.Host = "attacker.example" }, 403},
		"a host like ours":     {func(r *http.Request) { r.Host = s.storeHost() + ".attacker.example" }, 403},
		"PUT":                  {func(r *http.Request) { r.Method = http.MethodPut }, 405},
		"DELETE":               {func(r *http.Request) { r.Method = http.MethodDelete }, 405},
		"HEAD":                 {func(r *http.Request) { r.Method = http.MethodHead }, 405},
		"no version":           {func(r *http.Request) { r.Header.Del("If-Match") }, 400},
		"any version":          {header("If-Match", "*"), 400},
		"two versions":         {header("If-Match", etag+`, "other"`), 400},
		"a weak version":       {header("If-Match", "W/"+etag), 400},
		"another version":      {header("If-Match", `"0123456789abcdef"`), 412},
		"no range":             {func(r *http.Request) { r.Header.Del("Range") }, 400},
		"two ranges":           {header("Range", "bytes=0-9,20-29"), 400},
		"the end":              {header("Range", "bytes=-10"), 400},
		"from there on":        {header("Range", "bytes=10-"), 400},
		"the inner way":        {func(r *http.Request) { r.URL.Path = "/.weightfs/allowed" }, 404},
	} {
		if status, _ := ask(c.edit); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
}

// TestPublicBucket holds that a bucket which anybody may read is read through the
// cache without credentials, and that the cache asks the store about that too.
func TestPublicBucket(t *testing.T) {
	s := newSmallScene(t, 1)
	name := "public"
	noError(t, theStage.server.CreateBucket(t.Context(), name))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::public","arn:aws:s3:::public/*"]}]}`
	client := theStage.server.Client()
	_, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy})
	noError(t, err)
	noError(t, theStage.server.PutFile(t.Context(), name, object, s.file))
	mount := func() *rig.Mount {
		t.Helper()
		return theStage.MountFor(t, rig.MountOptions{Source: "s3://" + name, Env: append(s.env(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="),
			Args: []string{"--no-sign-request", "--force-path-style"}})
	}
	s.readAll([]*rig.Mount{mount(), mount()}, nil)
	m := mount()
	s.readAll([]*rig.Mount{m}, nil)
	if got := reportOf(t, m); got.Bytes < s.size || got.DirectBytes != 0 {
		t.Errorf("%+v", got)
	}
	for _, r := range s.store.Log() {
		if r.Op == "GET" && r.AccessKey != "" {
			t.Errorf("signed: %+v", r)
		}
	}
}

func mustCutQuery(raw string) string {
	_, query, _ := strings.Cut(raw, "?")
	return query
}

// TestOwnersKnowTheirPeers holds that who is not one of the cache is told nothing by
// an owner, which asks the store for no permission.
func TestOwnersKnowTheirPeers(t *testing.T) {
	s := newSmallScene(t, 1, "PEERS=192.0.2.1")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.tier[0].owner+"/"+bucket+"/"+s.key, nil)
	noError(t, err)
	r.Host = s.storeHost()
	r.Header.Set("Range", "bytes=0-99")
	r.Header.Set("If-Match", s.etag())
	response, err := http.DefaultTransport.RoundTrip(r)
	noError(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("HTTP %d", response.StatusCode)
	}
}

// TestTLS holds that nodes, routers and owners speak TLS where it is set, and that
// an owner takes no client without a certificate.
func TestTLS(t *testing.T) {
	dir := writeCertificates(t)
	s := newSmallScene(t, 2, "TLS="+dir)
	urls := strings.ReplaceAll(s.urls(), "http://", "https://")
	m := s.mount("--ca-bundle", filepath.Join(dir, "ca.crt"), "--cache-url", urls)
	s.readAll([]*rig.Mount{m}, nil)
	if got := reportOf(t, m); got.Bytes < s.size || got.DirectBytes != 0 {
		t.Errorf("%+v", got)
	}
	untrusting := s.mount("--cache-url", urls)
	s.readAll([]*rig.Mount{untrusting}, nil)
	if got := reportOf(t, untrusting); got.Bytes != 0 || got.DirectBytes < s.size {
		t.Errorf("without the authority's certificate: %+v", got)
	}
	client := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.tier[0].owner+"/"+bucket+"/"+s.key, nil)
	noError(t, err)
	r.Host = s.storeHost()
	r.Header.Set("Range", "bytes=0-99")
	r.Header.Set("If-Match", s.etag())
	response, err := client.RoundTrip(r)
	if err == nil {
		response.Body.Close()
	}
	if err == nil && response.StatusCode != http.StatusBadRequest {
		t.Errorf("an owner answers a stranger with %d", response.StatusCode)
	}
}
