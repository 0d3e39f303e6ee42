package monitor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pairFiles are the names of a certificate and its key in dir.
func pairFiles(dir string) (cert, key string) {
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// makePair makes a certificate of that number and its key.
func makePair(t *testing.T, number int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// put replaces a file at once, as who renews certificates does.
func put(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// shows checks that the certificate shown has that number.
func shows(t *testing.T, c *certificate, number int64) {
	t.Helper()
	pair, err := c.current(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := pair.Leaf.SerialNumber.Int64(); got != number {
		t.Errorf("certificate %d is shown, want %d", got, number)
	}
}

// TestCertificateIsRenewed replaces the two files one after the other: in between
// they do not fit, and the pair before goes on.
func TestCertificateIsRenewed(t *testing.T) {
	certFile, keyFile := pairFiles(t.TempDir())
	cert, key := makePair(t, 1)
	put(t, certFile, cert)
	put(t, keyFile, key)
	c, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	shows(t, c, 1)
	cert, key = makePair(t, 2)
	put(t, certFile, cert)
	shows(t, c, 1)
	put(t, keyFile, key)
	shows(t, c, 2)
	put(t, certFile, []byte("no certificate"))
	shows(t, c, 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	shows(t, c, 2)
	cert, key = makePair(t, 3)
	put(t, keyFile, key)
	put(t, certFile, cert)
	shows(t, c, 3)
}

func TestCertificateThatIsNone(t *testing.T) {
	certFile, keyFile := pairFiles(t.TempDir())
	if _, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error without files")
	}
	cert, _ := makePair(t, 1)
	_, key := makePair(t, 2)
	put(t, certFile, cert)
	put(t, keyFile, key)
	if _, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error of a key that is another's")
	}
}

// TestFilesOfADaemon holds that files are found again after mountd has left the
// folder in which it was started.
func TestFilesOfADaemon(t *testing.T) {
	token := writeToken(t, theToken, 0o600)
	dir := filepath.Dir(token)
	certFile, keyFile := pairFiles(dir)
	cert, key := makePair(t, 1)
	put(t, certFile, cert)
	put(t, keyFile, key)
	t.Chdir(dir)
	cfg := HTTPConfig{Profiles: true, TokenFile: "token", CertFile: "cert.pem", KeyFile: "./key.pem"}
	server, err := mountFor(t).newServer(t.Context(), cfg, address("0.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	cert, key = makePair(t, 2)
	put(t, certFile, cert)
	put(t, keyFile, key)
	pair, err := server.TLSConfig.GetCertificate(nil)
	if err != nil || pair.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("the certificate: %v", err)
	}
	r := httptest.NewRequest(http.MethodGet, "/debug/pprof/", nil)
	r.SetBasicAuth("", theToken)
	w := httptest.NewRecorder()
	if server.Handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("with the token: %d: %s", w.Code, w.Body)
	}
}
