package monitor

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// theToken is long enough.
const theToken = "0123456789abcdef0123"

// writeToken writes a token's file with these permissions.
func writeToken(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// knock asks what only holders may have, with the header fields of set.
func knock(t *testing.T, a *access, set func(r *http.Request)) *http.Response {
	t.Helper()
	const secret = "the name of an object"
	h := a.holders(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(secret)) }))
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9000/", nil)
	set(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if shown := strings.Contains(w.Body.String(), secret); shown != (w.Code == http.StatusOK) {
		t.Errorf("status %d with %q", w.Code, w.Body)
	}
	return w.Result()
}

func address(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 9000} }

func accessFor(t *testing.T, tokenFile, ip string) *access {
	t.Helper()
	a, err := newAccess(tokenFile, address(ip), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestLoopbackWithoutToken holds that a page from elsewhere gets nothing by giving
// its own name this host's address.
func TestLoopbackWithoutToken(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "127.1.2.3", "::1"} {
		a := accessFor(t, "", ip)
		for host, want := range map[string]int{
			"127.0.0.1:9000": 200, "127.0.0.1": 200, "localhost:9000": 200, "LOCALHOST": 200, "[::1]:9000": 200, "[::1]": 200, "10.1.2.3:9000": 200,
			"attacker.example:9000": 403, "attacker.example": 403, "localhost.attacker.example": 403, "127.0.0.1.attacker.example:9000": 403, "": 403, ":9000": 403,
		} {
			if got := knock(t, a, func(r *http.Request) { r.Host = host }).StatusCode; got != want {
				t.Errorf("listener at %s, host %q: %d, want %d", ip, host, got, want)
			}
		}
	}
}

func TestOffLoopbackWithoutToken(t *testing.T) {
	for _, ip := range []string{"0.0.0.0", "::", "10.1.2.3", "fe80::1"} {
		a := accessFor(t, "", ip)
		if got := knock(t, a, func(*http.Request) {}).StatusCode; got != http.StatusForbidden {
			t.Errorf("listener at %s: %d", ip, got)
		}
	}
}

func TestToken(t *testing.T) {
	name := writeToken(t, "\n"+theToken+"\n", 0o600)
	for _, ip := range []string{"0.0.0.0", "127.0.0.1"} {
		a := accessFor(t, name, ip)
		for given, tc := range map[string]struct {
			set  func(r *http.Request)
			want int
		}{
			"nothing":         {func(*http.Request) {}, 401},
			"the token":       {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+theToken) }, 200},
			"in small":        {func(r *http.Request) { r.Header.Set("Authorization", "bearer  "+theToken) }, 200},
			"another":         {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+theToken+"x") }, 401},
			"its beginning":   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+theToken[:10]) }, 401},
			"an empty one":    {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, 401},
			"no kind":         {func(r *http.Request) { r.Header.Set("Authorization", theToken) }, 401},
			"a password":      {func(r *http.Request) { r.SetBasicAuth("anybody", theToken) }, 200},
			"a wrong one":     {func(r *http.Request) { r.SetBasicAuth(theToken, "anybody") }, 401},
			"a name for it":   {func(r *http.Request) { r.Host = "node.example"; r.SetBasicAuth("", theToken) }, 200},
			"in the question": {func(r *http.Request) { r.URL.RawQuery = "token=" + theToken }, 401},
		} {
			response := knock(t, a, tc.set)
			if response.StatusCode != tc.want {
				t.Errorf("listener at %s, %s: %d, want %d", ip, given, response.StatusCode, tc.want)
			}
			if asks := len(response.Header.Values("WWW-Authenticate")) > 0; asks != (tc.want == 401) {
				t.Errorf("%s: %v", given, response.Header)
			}
		}
	}
}

// TestTokenIsReplaced holds that an old token is worth nothing, and that nobody is
// let in while there is none.
func TestTokenIsReplaced(t *testing.T) {
	name := writeToken(t, theToken, 0o600)
	a := accessFor(t, name, "0.0.0.0")
	with := func(token string) int {
		return knock(t, a, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }).StatusCode
	}
	next := strings.ToUpper(theToken)
	if err := os.WriteFile(name, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	if old, new := with(theToken), with(next); old != 401 || new != 200 {
		t.Errorf("the old token: %d, the new one: %d", old, new)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := with(next); got != http.StatusServiceUnavailable {
		t.Errorf("with a file that others can read: %d", got)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{next, theToken, ""} {
		if got := with(token); got != http.StatusServiceUnavailable {
			t.Errorf("without the file: %d", got)
		}
	}
}

func TestUselessTokens(t *testing.T) {
	folder := t.TempDir()
	for name, why := range map[string]string{
		writeToken(t, theToken, 0o644):                  "can be read or changed by others",
		writeToken(t, theToken, 0o620):                  "can be read or changed by others",
		writeToken(t, "", 0o600):                        "0 characters",
		writeToken(t, "short\n", 0o600):                 "5 characters",
		writeToken(t, theToken+" "+theToken, 0o600):     "more than one word",
		writeToken(t, strings.Repeat("x", 5000), 0o600): "more than 4096 bytes",
		folder:                        "is no file",
		filepath.Join(folder, "none"): "no such file",
	} {
		if _, err := newAccess(name, address("0.0.0.0"), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	for _, mode := range []os.FileMode{0o400, 0o440, 0o600, 0o640} {
		if _, err := readToken(writeToken(t, theToken, mode)); err != nil {
			t.Errorf("%o: %v", mode, err)
		}
	}
}
