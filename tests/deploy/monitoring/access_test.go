package monitoring

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	firstToken  = "0123456789abcdef-first"
	secondToken = "0123456789abcdef-second"
)

// forHolders are paths that name objects, or what is in memory.
func forHolders() []string {
	return []string{"/", "/api/report", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2"}
}

// forAnyone are paths that do not.
func forAnyone() []string { return []string{"/metrics", "/healthz", "/readyz"} }

// writeToken puts a token in place of the one in the file.
func writeToken(t *testing.T, name, token string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// others are addresses of this host beside loopback, where it has any.
func others(t *testing.T) (hosts []string) {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts
}

func TestLoopback(t *testing.T) {
	m := mount(t, "127.0.0.1:0", nil, "--pprof")
	for _, path := range append(forAnyone(), forHolders()...) {
		m.want(path, nil, http.StatusOK)
		m.want(path, func(r *http.Request) { r.Host = "localhost" }, http.StatusOK)
	}
	elsewhere := func(r *http.Request) { r.Host = "attacker.example" }
	for _, path := range forHolders() {
		m.want(path, elsewhere, http.StatusForbidden)
	}
}

func TestOffLoopbackWithoutToken(t *testing.T) {
	m := mount(t, "0.0.0.0:0", nil, "--pprof")
	_, port, _ := strings.Cut(strings.TrimPrefix(m.base, "http://"), ":")
	for _, host := range append(others(t), "127.0.0.1") {
		m.base = "http://" + net.JoinHostPort(host, port)
		for _, path := range forAnyone() {
			m.want(path, nil, http.StatusOK)
		}
		for _, path := range forHolders() {
			for _, set := range []func(*http.Request){nil, bearer(firstToken), bearer("")} {
				if got := m.want(path, set, http.StatusForbidden); !strings.Contains(got.body, "--http-token-file") {
					t.Errorf("%s does not say what it takes: %q", path, got.body)
				}
			}
		}
	}
}

// TestToken holds which token opens, by which means, and that a new one takes the
// place of the old one while mountd runs.
func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	writeToken(t, file, firstToken)
	m := mount(t, "0.0.0.0:0", nil, "--pprof", "--http-token-file", file)
	for _, path := range forAnyone() {
		m.want(path, nil, http.StatusOK)
	}
	for _, path := range forHolders() {
		m.want(path, nil, http.StatusUnauthorized)
		m.want(path, bearer(secondToken), http.StatusUnauthorized)
		m.want(path, bearer(firstToken), http.StatusOK)
		m.want(path, func(r *http.Request) { r.SetBasicAuth("anybody", firstToken) }, http.StatusOK)
		m.want(path, func(r *http.Request) { r.SetBasicAuth(firstToken, "wrong") }, http.StatusUnauthorized)
	}
	writeToken(t, file, secondToken)
	for _, path := range forHolders() {
		m.want(path, bearer(firstToken), http.StatusUnauthorized)
		m.want(path, bearer(secondToken), http.StatusOK)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range forHolders() {
		m.want(path, bearer(secondToken), http.StatusServiceUnavailable)
	}
	if out := m.Output(); strings.Contains(out, firstToken) || strings.Contains(out, secondToken) {
		t.Errorf("the log has a token: %s", out)
	}
}
