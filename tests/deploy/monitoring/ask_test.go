package monitoring

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// mounted is a mount of the bucket's prefix that listens.
type mounted struct {
	*rig.Mount
	t *testing.T
	// base is how its URLs begin: http://HOST:PORT, of an address that leads here.
	base   string
	client *http.Client
}

// fill makes a bucket with two objects, once for each test.
func fill(t *testing.T, name string) {
	t.Helper()
	theStage.Server.Fill(t, name, map[string][]byte{
		prefix + "/" + object: bytes.Repeat([]byte("weights "), 1<<17),
		prefix + "/" + large:  bytes.Repeat([]byte("content "), 1<<20),
	})
}

// mount shows the prefix of a bucket of its own for the length of the test, with
// flags and environment, and listens at address.
func mount(t *testing.T, address string, env []string, flags ...string) *mounted {
	t.Helper()
	name := bucket + "-" + strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-"))
	fill(t, name)
	m := &mounted{t: t, client: &http.Client{Timeout: limit}}
	m.Mount = theStage.MountFor(t, rig.MountOptions{
		Source: "s3://" + name + "/" + prefix,
		Args:   append([]string{"--http", address}, flags...),
		Env:    append(theStage.Server.Env(), env...),
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	match, err := m.AwaitOutput(ctx, regexp.MustCompile(`url=(https?)://(\S+):(\d+)/metrics`))
	if err != nil {
		t.Fatal(err)
	}
	m.base = match[1] + "://127.0.0.1:" + match[3]
	t.Cleanup(m.client.CloseIdleConnections)
	return m
}

// answer is what an HTTP request got.
type answer struct {
	code int
	body string
}

// get asks for a path; set, if not nil, changes the request before.
func (m *mounted) get(path string, set func(r *http.Request)) answer {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.base+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if set != nil {
		set(r)
	}
	response, err := m.client.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return answer{response.StatusCode, string(body)}
}

// bearer shows a token.
func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// want checks the status of a path.
func (m *mounted) want(path string, set func(*http.Request), code int) answer {
	m.t.Helper()
	got := m.get(path, set)
	if got.code != code {
		m.t.Errorf("%s: %d, want %d: %.200s", path, got.code, code, got.body)
	}
	return got
}

// await asks for a path again and again until ok; the bound is for a hang.
func (m *mounted) await(path string, ok func(answer) bool) answer {
	m.t.Helper()
	var got answer
	if !rig.Eventually(func() bool { got = m.get(path, nil); return ok(got) }) {
		m.t.Fatalf("%s stays at %d: %.500s", path, got.code, got.body)
	}
	return got
}

// read reads a file of the mount by a process of its own, and says whether it
// could.
func (m *mounted) read(name string) bool {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	return exec.CommandContext(ctx, "sha256sum", filepath.Join(m.Dir, name)).Run() == nil && ctx.Err() == nil
}
