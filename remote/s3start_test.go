package remote_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/remote"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestStartErrors holds errors at start to one line that says what, where and
// what to do.
func TestStartErrors(t *testing.T) {
	srv := startS3(t)
	srv.MustPut(t, "models", "dir/file", []byte("content"))
	cases := []struct {
		name, bucket, prefix string
		cfg                  remote.S3Config
		env                  [2]string
		want                 error
		text                 []string
	}{
		{name: "bucket missing", bucket: "missing", want: fs.ErrNotExist,
			text: []string{"s3://missing", srv.Endpoint, "the bucket does not exist"}},
		{name: "prefix missing", bucket: "models", prefix: "none", want: fs.ErrNotExist,
			text: []string{"s3://models/none", "check the path"}},
		{name: "prefix is part of a name", bucket: "models", prefix: "di", want: fs.ErrNotExist,
			text: []string{"s3://models/di"}},
		{name: "wrong secret", bucket: "models", env: [2]string{"AWS_SECRET_ACCESS_KEY", "wrong"}, want: fs.ErrPermission,
			text: []string{"s3://models", "credentials are not accepted"}},
		{name: "unknown key", bucket: "models", env: [2]string{"AWS_ACCESS_KEY_ID", "UNKNOWN"},
			text: []string{"s3://models", "access key"}}, // by the server's own word
		{name: "unsigned", bucket: "models", cfg: remote.S3Config{NoSignRequest: true}, want: fs.ErrPermission,
			text: []string{"s3://models", "s3:ListBucket"}},
		{name: "no credentials", bucket: "models", env: [2]string{"AWS_ACCESS_KEY_ID", ""}, want: fs.ErrPermission,
			text: []string{"no usable AWS credentials", "AWS_PROFILE"}},
		{name: "unknown profile", bucket: "models", cfg: remote.S3Config{Profile: "nobody"}, text: []string{"nobody"}},
		{name: "endpoint refuses", bucket: "models", cfg: remote.S3Config{EndpointURL: "http://" + freePort(t)},
			text: []string{"s3://models", "nothing listens there"}},
		{name: "endpoint is no URL", bucket: "models", cfg: remote.S3Config{EndpointURL: "localhost:9000"},
			text: []string{"http://"}},
		{name: "endpoint with a password", bucket: "models", cfg: remote.S3Config{EndpointURL: "http://me:hunter2@localhost:9"},
			text: []string{"user name"}},
		{name: "endpoint with a password and no scheme", bucket: "models", cfg: remote.S3Config{EndpointURL: "me:hunter2@localhost:9"},
			text: []string{"http://", "localhost:9"}},
		{name: "endpoint with a password that is no URL", bucket: "models", cfg: remote.S3Config{EndpointURL: "http://me:hunter2%zz@localhost:9"},
			text: []string{"http://", "localhost:9"}},
		{name: "CA bundle missing", bucket: "models", cfg: remote.S3Config{CABundle: "/nonexistent/ca.pem"}, want: fs.ErrNotExist,
			text: []string{"CA bundle", "/nonexistent/ca.pem"}},
		{name: "CA bundle empty", bucket: "models", cfg: remote.S3Config{CABundle: os.DevNull}, text: []string{"CA bundle"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.env[0] != "" {
				t.Setenv(c.env[0], c.env[1])
			}
			c.cfg.ForcePathStyle = true
			_, _, err := remote.OpenS3(t.Context(), remote.Source{Bucket: c.bucket, Prefix: c.prefix}, c.cfg)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Fatalf("error = %v, want %v", err, c.want)
			}
			for _, part := range c.text {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error does not say %q: %v", part, err)
				}
			}
			for _, secret := range []string{"\n", srv.SecretKey, srv.AccessKey, "hunter2"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error contains %q: %v", secret, err)
				}
			}
		})
	}
}

func TestStartSurvivesAHiccup(t *testing.T) {
	srv := startS3(t)
	p := proxy.Start(t, srv.Endpoint)
	p.SetRules(1, proxy.Rule{Op: "LIST", Count: 2, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}})
	openS3(t, "models", "", remote.S3Config{EndpointURL: p.Endpoint})
	if got := p.Stats().Requests; got["LIST"] != 3 || len(got) != 1 {
		t.Errorf("the start took %v", got)
	}
}

func TestOpenOneObject(t *testing.T) {
	srv := startS3(t)
	srv.MustPut(t, "models", "dir/file.safetensors", []byte("content"))
	srv.MustPut(t, "models", "dir/file.safetensors.index.json", []byte("{}"))
	for uri, want := range map[string]string{
		"s3://models/dir/file.safetensors": "file.safetensors",
		"s3://models/dir":                  "",
		"s3://models":                      "",
	} {
		src, err := remote.ParseSource(uri)
		if err != nil {
			t.Fatal(err)
		}
		store, key, err := remote.Open(t.Context(), src, remote.Config{S3: remote.S3Config{ForcePathStyle: true}})
		if err != nil {
			t.Fatal(err)
		}
		if key != want {
			t.Errorf("%s: key %q, want %q", uri, key, want)
		}
		if key != "" && content(t, store, key) != "content" {
			t.Errorf("%s: wrong content", uri)
		}
		store.Close()
	}
}

func TestCABundles(t *testing.T) {
	srv := rig.StartServer(t, rig.ServerOptions{TLS: true})
	setEnv(t, srv)
	srv.Fill(t, "models", map[string][]byte{"file": []byte("content")})
	t.Run("environment", func(t *testing.T) {
		if got := content(t, openS3(t, "models", "", remote.S3Config{}), "file"); got != "content" {
			t.Errorf("content = %q", got)
		}
	})
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Run("configured", func(t *testing.T) {
		if got := content(t, openS3(t, "models", "", remote.S3Config{CABundle: srv.CABundle}), "file"); got != "content" {
			t.Errorf("content = %q", got)
		}
	})
	t.Run("none", func(t *testing.T) {
		_, _, err := remote.OpenS3(t.Context(), remote.Source{Bucket: "models"}, remote.S3Config{ForcePathStyle: true})
		if err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
			t.Errorf("error = %v", err)
		}
	})
}

// TestRewrittenAcceptEncoding has a proxy rewrite the header, as Google's front
// end does: the signature must not cover it.
func TestRewrittenAcceptEncoding(t *testing.T) {
	srv := startS3(t)
	srv.MustPut(t, "models", "file", []byte("content"))
	p := proxy.Start(t, srv.Endpoint)
	p.SetRules(1, proxy.Rule{Fault: proxy.Fault{Request: map[string]string{"Accept-Encoding": "gzip,gfe"}}})
	store := openS3(t, "models", "", remote.S3Config{EndpointURL: p.Endpoint})
	if got := content(t, store, "file"); got != "content" {
		t.Errorf("content = %q", got)
	}
	if p.Stats().Faults == 0 {
		t.Error("no header was rewritten")
	}
}

func TestProfileAndRegionless(t *testing.T) {
	srv := startS3(t)
	srv.MustPut(t, "models", "file", []byte("content"))
	file := filepath.Join(t.TempDir(), "credentials")
	text := "[other]\naws_access_key_id = " + srv.AccessKey + "\naws_secret_access_key = " + srv.SecretKey + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	if got := content(t, openS3(t, "models", "", remote.S3Config{Profile: "other"}), "file"); got != "content" {
		t.Errorf("content = %q", got)
	}
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_ENDPOINT_URL_S3", srv.Endpoint)
	if got := content(t, openS3(t, "models", "", remote.S3Config{Profile: "other"}), "file"); got != "content" {
		t.Errorf("content = %q", got)
	}
}
