package fleet

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"weightfs/tests/rig"
)

// presign is a URL of a key at a server by that endpoint, in the way of a node.
func presign(t *testing.T, server *rig.Server, endpoint, key string) string {
	t.Helper()
	name := bucket
	client := s3.New(server.Client().Options(), func(o *s3.Options) { o.BaseEndpoint = &endpoint })
	signed, err := s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &name, Key: &key})
	noError(t, err)
	return signed.URL
}

// etag is that of the scene's object.
func (s *scene) etag(server *rig.Server) string {
	s.t.Helper()
	name := bucket
	out, err := server.Client().HeadObject(s.t.Context(), &s3.HeadObjectInput{Bucket: &name, Key: &s.key})
	noError(s.t, err)
	return *out.ETag
}

// getFrom asks an instance for the beginning of an object, with the changes of edit,
// and returns the status and what it says of its cache.
func (s *scene) getFrom(in *instance, signed, etag string, edit ...func(*http.Request)) (int, string) {
	s.t.Helper()
	target, err := url.Parse(signed)
	noError(s.t, err)
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, in.url+target.RequestURI(), nil)
	noError(s.t, err)
	r.Host = s.storeHost()
	r.Header.Set("Range", "bytes=0-99")
	r.Header.Set("If-Match", etag)
	for _, change := range edit {
		change(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	noError(s.t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	noError(s.t, err)
	return response.StatusCode, response.Header.Get("X-Cache-Status")
}

// TestAccess holds who gets what of the cache, whatever it has: nothing that the
// store would refuse, and nothing that it could not keep apart.
func TestAccess(t *testing.T) {
	s := newSmallScene(t, 2)
	signed, etag := presign(t, theStage.Server, s.endpoint, s.key), s.etag(theStage.Server)
	ask := func(edit func(*http.Request)) (int, string) {
		t.Helper()
		return s.getFrom(s.tier[0], signed, etag, edit)
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
		"of another object": {func(r *http.Request) {
			r.URL.RawQuery = mustCutQuery(presign(t, theStage.Server, s.endpoint, "another"))
		}, 403},
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
	noError(t, theStage.Server.CreateBucket(t.Context(), name))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::public","arn:aws:s3:::public/*"]}]}`
	client := theStage.Server.Client()
	_, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy})
	noError(t, err)
	noError(t, theStage.Server.PutFile(t.Context(), name, object, s.file))
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
	r.Header.Set("If-Match", s.etag(theStage.Server))
	response, err := http.DefaultTransport.RoundTrip(r)
	noError(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("HTTP %d", response.StatusCode)
	}
}

// TestStoreByTLS holds that the cache finds a store by name, asks it by TLS, and holds
// it to its certificate.
func TestStoreByTLS(t *testing.T) {
	server := rig.StartServer(t, rig.ServerOptions{TLS: true})
	noError(t, server.CreateBucket(t.Context(), bucket))
	authority, err := os.ReadFile(server.CABundle)
	noError(t, err)
	names := rig.StartNameServer(t)
	s := newSmallScene(t, 1)
	noError(t, server.PutFile(t.Context(), bucket, s.key, s.file))
	s.endpoint = strings.Replace(server.Endpoint, "127.0.0.1", "store.example.com", 1) // which the certificate names
	for name, c := range map[string]struct {
		authority []byte
		want      int
	}{"trusted": {authority, 206}, "not trusted": {nil, 500}} {
		bundle := filepath.Join(writeCertificates(t), "ca.crt")
		if c.authority != nil {
			noError(t, os.WriteFile(bundle, c.authority, 0o644))
		}
		s.startTier(1, "SCHEME=https", "STORE_CA="+bundle, "RESOLVER="+names.Address)
		status, _ := s.getFrom(s.tier[len(s.tier)-1], presign(t, server, s.endpoint, s.key), s.etag(server))
		if status != c.want {
			t.Errorf("%s: HTTP %d, want %d", name, status, c.want)
		}
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
	r.Header.Set("If-Match", s.etag(theStage.Server))
	response, err := client.RoundTrip(r)
	if err == nil {
		response.Body.Close()
	}
	if err == nil && response.StatusCode != http.StatusBadRequest {
		t.Errorf("an owner answers a stranger with %d", response.StatusCode)
	}
}
