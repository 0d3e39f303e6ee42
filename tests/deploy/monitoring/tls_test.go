package monitoring

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// issue makes a certificate for 127.0.0.1, which is its own authority, and puts it
// and its key in place of those in the files.
func issue(t *testing.T, certFile, keyFile string, number int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		err := errors.Join(os.WriteFile(name+".new", pem.EncodeToMemory(block), 0o600), os.Rename(name+".new", name))
		if err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// trusting is a client that trusts this certificate alone.
func trusting(cert *x509.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &http.Client{Timeout: limit, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// TestTLS holds that a renewed certificate is shown from the next connection on,
// and that nothing is said without TLS.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key, token := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "token")
	writeToken(t, token, firstToken)
	first := issue(t, cert, key, 1)
	m := mount(t, "0.0.0.0:0", nil, "--pprof", "--http-cert", cert, "--http-key", key, "--http-token-file", token)
	m.client = trusting(first)
	m.want("/metrics", nil, http.StatusOK)
	m.want("/debug/pprof/", nil, http.StatusUnauthorized)
	m.want("/debug/pprof/", bearer(firstToken), http.StatusOK)
	m.client.CloseIdleConnections()

	second := issue(t, cert, key, 2)
	m.client = trusting(second)
	m.want("/healthz", nil, http.StatusOK)
	m.client.CloseIdleConnections()
	old := trusting(first)
	defer old.CloseIdleConnections()
	if response, err := old.Get(m.base + "/healthz"); err == nil {
		response.Body.Close()
		t.Error("the old certificate is still shown")
	}
	m.base = "http" + m.base[len("https"):]
	m.want("/metrics", nil, http.StatusBadRequest)
	m.client.CloseIdleConnections()
}

// TestWrongFiles holds that mountd does not start with half of what it needs.
func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key, token := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "token")
	issue(t, cert, key, 1)
	open := filepath.Join(dir, "open")
	writeToken(t, token, firstToken)
	writeToken(t, open, firstToken)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		flags []string
		code  int
	}{
		"a certificate without a key":   {[]string{"--http", "127.0.0.1:0", "--http-cert", cert}, 2},
		"a key without a certificate":   {[]string{"--http", "127.0.0.1:0", "--http-key", key}, 2},
		"a certificate for nothing":     {[]string{"--http-cert", cert, "--http-key", key}, 2},
		"a token for nothing":           {[]string{"--http-token-file", token}, 2},
		"a certificate that is none":    {[]string{"--http", "127.0.0.1:0", "--http-cert", token, "--http-key", key}, 1},
		"a token that others can read":  {[]string{"--http", "127.0.0.1:0", "--http-token-file", open}, 1},
		"a token that is not there":     {[]string{"--http", "127.0.0.1:0", "--http-token-file", token + "x"}, 1},
		"an address that is not a port": {[]string{"--http", "127.0.0.1"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := rig.Run(t.Context(), nil, theStage.Mountd, append(tc.flags, t.TempDir(), t.TempDir())...)
			if err != nil {
				t.Fatal(err)
			}
			if result.Code != tc.code {
				t.Errorf("exit %d, want %d: %s", result.Code, tc.code, result.Stderr)
			}
		})
	}
}
