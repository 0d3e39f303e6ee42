// The HTTP listener: what it serves, and what a client may take of the daemon.
// Who may ask for what is in access.go, the certificate in certificate.go, and
// each answer in a file of its own.

package monitor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// clientTimeout bounds how long a client may take to ask, and to listen.
	clientTimeout = 10 * time.Second
	// maxHeader bounds what it may say, in bytes.
	maxHeader = 8 << 10
	// profileTimeout bounds how long a profile may be taken, and sent.
	profileTimeout = 2 * time.Minute
	// lastAnswers is how long answers under way may take when the mount is gone.
	// A client that does not listen must not keep mountd from its end.
	lastAnswers = time.Second
	// maxClients bounds the connections: descriptors are needed for the store.
	maxClients = 256
)

// HTTPConfig says where and how a mount is shown over HTTP.
type HTTPConfig struct {
	// Address is HOST:PORT.
	Address string
	// Profiles adds the runtime's profiles under /debug/pprof/.
	Profiles bool
	// TokenFile has the token without which nothing that names an object is
	// shown. "" shows such things on loopback alone.
	TokenFile string
	// CertFile and KeyFile are a certificate with its chain and its key, in PEM:
	// with them, and only with both, the listener speaks TLS.
	CertFile, KeyFile string
}

// makeAbsolute makes the names of files independent of the working directory: they
// are read again later, and a daemon leaves it.
func (c *HTTPConfig) makeAbsolute() error {
	for _, name := range []*string{&c.TokenFile, &c.CertFile, &c.KeyFile} {
		if *name == "" {
			continue
		}
		abs, err := filepath.Abs(*name)
		if err != nil {
			return err
		}
		*name = abs
	}
	return nil
}

// Serve shows the mount at an address until the returned function is called.
func (m *Mount) Serve(cfg HTTPConfig) (stop func() error, err error) {
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics at %s: %w", cfg.Address, err)
	}
	life, end := context.WithCancel(context.Background())
	server, err := m.newServer(life, cfg, listener.Addr())
	if err != nil {
		end()
		return nil, errors.Join(fmt.Errorf("serve metrics at %s: %w", cfg.Address, err), listener.Close())
	}
	server.BaseContext = func(net.Listener) context.Context { return life }
	ended := make(chan error, 1)
	go func() { ended <- serveBounded(server, listener) }()
	m.Logger.Info("serving metrics", "url", scheme(server)+listener.Addr().String()+"/metrics")
	return func() error {
		err := shutDown(server)
		end()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// newServer is the server of cfg that will listen at address. life ends with it.
func (m *Mount) newServer(life context.Context, cfg HTTPConfig, address net.Addr) (*http.Server, error) {
	if err := cfg.makeAbsolute(); err != nil {
		return nil, err
	}
	access, err := newAccess(cfg.TokenFile, address, m.Logger)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	if err := m.routes(life, mux, access, cfg.Profiles); err != nil {
		return nil, err
	}
	server := boundedServer(mux, cfg.Profiles)
	// What clients do wrong, as who speaks no TLS, is not ours to warn of.
	server.ErrorLog = slog.NewLogLogger(m.Logger.Handler(), slog.LevelDebug)
	if cfg.CertFile == "" {
		return server, nil
	}
	pair, err := newCertificate(cfg.CertFile, cfg.KeyFile, m.Logger)
	if err != nil {
		return nil, err
	}
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.current}
	return server, nil
}

// routes says what is where, and for whom. anyone is right for what names no
// object; all else is for holders. life ends with the server.
func (m *Mount) routes(life context.Context, mux *http.ServeMux, a *access, profiles bool) error {
	scrapes, err := scrapeHandler(m.collectors()...)
	if err != nil {
		return err
	}
	mux.Handle("GET /metrics", a.anyone(scrapes))
	mux.Handle("GET /healthz", a.anyone(m.healthHandler()))
	mux.Handle("GET /readyz", a.anyone(m.readyHandler(life)))
	m.handlePage(mux, a.holders)
	if profiles {
		handleProfiles(mux, a.holders)
	}
	return nil
}

// boundedServer bounds what clients may take, whatever they ask for.
func boundedServer(handler http.Handler, profiles bool) *http.Server {
	answering := clientTimeout
	if profiles {
		answering = profileTimeout
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a connection is one request at a time: maxClients bounds both
	return &http.Server{
		Handler: handler, MaxHeaderBytes: maxHeader, Protocols: protocols,
		ReadTimeout: clientTimeout, WriteTimeout: answering, IdleTimeout: 2 * time.Minute,
	}
}

// serveBounded serves so many clients at once; others wait for one of them to go.
func serveBounded(server *http.Server, listener net.Listener) error {
	bounded := netutil.LimitListener(listener, maxClients)
	if server.TLSConfig != nil {
		return server.ServeTLS(bounded, "", "")
	}
	return server.Serve(bounded)
}

// scheme is how the server's URLs begin.
func scheme(server *http.Server) string {
	if server.TLSConfig != nil {
		return "https://"
	}
	return "http://"
}

// shutDown lets answers under way end for a moment, and then cuts them off.
func shutDown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}
