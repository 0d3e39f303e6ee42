// Who may ask the HTTP listener for what. The paths are in http.go.

package monitor

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
)

const (
	// minToken is the least length of a token: shorter ones can be guessed.
	minToken = 16
	// maxToken bounds what is read of its file.
	maxToken = 4 << 10
)

// access decides who may see what. There are two classes: what names no object
// is for anyone, and all else for holders of the token. Without a token these
// are the processes of this host, if the listener is on loopback; a page that a
// browser has loaded from elsewhere under a name that leads here is not one.
type access struct {
	tokenFile string // "": no token
	loopback  bool
	logger    *slog.Logger
}

// newAccess is for a listener at address. It checks the token's file.
func newAccess(tokenFile string, address net.Addr, logger *slog.Logger) (*access, error) {
	a := &access{tokenFile: tokenFile, logger: logger}
	if tcp, ok := address.(*net.TCPAddr); ok {
		a.loopback = tcp.IP.IsLoopback()
	}
	if tokenFile != "" {
		if _, err := readToken(tokenFile); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// anyone lets everybody have the answers of h, which name no object.
func (a *access) anyone(h http.Handler) http.Handler { return h }

// holders lets those have the answers of h who may know what is read here.
func (a *access) holders(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case a.tokenFile != "":
			if !a.admit(w, r) {
				return
			}
		case !a.loopback:
			http.Error(w, "this names objects: off loopback it takes a token, which --http-token-file gives", http.StatusForbidden)
			return
		case !isHere(r.Host):
			http.Error(w, "without a token, ask by localhost or an address, and not by another name", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// admit checks the token of a request, and answers one that has not the right
// one. The file is read each time: a token that was replaced or taken away holds
// no longer.
func (a *access) admit(w http.ResponseWriter, r *http.Request) bool {
	want, err := readToken(a.tokenFile)
	if err != nil {
		a.logger.Warn("nobody is let in without the token's file", "err", err)
		http.Error(w, "the token's file cannot be read: the log says why", http.StatusServiceUnavailable)
		return false
	}
	if got, ok := tokenOf(r); ok && sameToken(got, want) {
		return true
	}
	w.Header().Add("WWW-Authenticate", `Basic realm="weightfs: any name, and the token as password", charset="UTF-8"`)
	w.Header().Add("WWW-Authenticate", `Bearer realm="weightfs"`)
	http.Error(w, "this takes the token of --http-token-file: as a bearer, or as the password of any user", http.StatusUnauthorized)
	return false
}

// tokenOf is what a request shows for a token: a bearer's, or the password that a
// browser asked its user for.
func tokenOf(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	kind, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(kind, "Bearer")
}

// sameToken compares in a time that says nothing of either, not even the length.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// readToken reads a token from its file, without the white space around it. A
// file that other users may read or write is refused.
func readToken(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o026 != 0 {
		return "", fmt.Errorf("token: %s, mode %v, can be read or changed by others, or is no file: chmod 600 (a secret of Kubernetes: defaultMode 0400)", name, mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case len(text) > maxToken:
		return "", fmt.Errorf("token: %s has more than %d bytes", name, maxToken)
	case len(token) < minToken:
		return "", fmt.Errorf("token: %s has %d characters: at least %d, as of openssl rand -hex 32", name, len(token), minToken)
	case strings.ContainsAny(token, " \t\r\n"):
		return "", errors.New("token: " + name + " has more than one word")
	}
	return token, nil
}

// isHere tells whether the host that a request was sent to is an address, or the
// name of this one: a name of somebody's on the net may lead here too.
func isHere(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil
}
