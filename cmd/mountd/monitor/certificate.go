// The certificate of the HTTP listener, read again when it was renewed.

package monitor

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate and its key, of two files that somebody renews.
// Safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate // guarded by mu, as are all below
	of     [2]fileState     // the files that were tried last
	failed bool
}

// fileState tells whether a file is still the one that was read.
type fileState struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func stateOf(name string) (fileState, error) {
	info, err := os.Stat(name)
	if err != nil {
		return fileState{}, err
	}
	return fileState{info.ModTime(), info.Size(), info}, nil
}

func (s fileState) same(other fileState) bool {
	return s.info != nil && other.info != nil && s.modified.Equal(other.modified) && s.size == other.size && os.SameFile(s.info, other.info)
}

// newCertificate reads both files.
func newCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	if err := c.renew(); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return c, nil
}

// current is the certificate to show. While the files do not fit together, as
// between the writing of one and of the other, it is the one before.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.renew()
	if err != nil && !c.failed {
		c.logger.Warn("the certificate before is kept", "err", err)
	}
	c.failed = err != nil
	return c.pair, nil
}

// renew reads the files if they are others than those that were read. mu is held,
// but by newCertificate.
func (c *certificate) renew() error {
	cert, err := stateOf(c.certFile)
	if err != nil {
		return err
	}
	key, err := stateOf(c.keyFile)
	if err != nil {
		return err
	}
	if c.pair != nil && cert.same(c.of[0]) && key.same(c.of[1]) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.of = &pair, [2]fileState{cert, key}
	return nil
}
