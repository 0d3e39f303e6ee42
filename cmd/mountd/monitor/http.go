package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const (
	// clientTimeout bounds how long a client may take to ask, and to listen.
	clientTimeout = 10 * time.Second
	// maxHeader bounds what it may say, in bytes.
	maxHeader = 8 << 10
	// maxScrapes bounds how many are answered at once; others get a 503.
	maxScrapes = 4
	// profileTimeout bounds how long a profile may be taken, and sent.
	profileTimeout = 2 * time.Minute
	// lastAnswers is how long answers under way may take when the mount is gone.
	// A client that does not listen must not keep mountd from its end.
	lastAnswers = time.Second
	// maxClients bounds the connections: descriptors are needed for the store.
	maxClients = 256
)

// Serve serves /metrics at address, and profiles where they are asked for, until
// the returned function is called.
func (m *Mount) Serve(address string, profiles bool) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics at %s: %w", address, err)
	}
	scrapes, err := scrapeHandler(collector{m})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve metrics: %w", err), listener.Close())
	}
	server := newServer(scrapes, profiles, m.handlePage)
	ended := make(chan error, 1)
	go func() { ended <- serveBounded(server, listener) }()
	m.Logger.Info("serving metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	return func() error {
		err := shutDown(server)
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// newServer bounds what clients may take, whatever they ask for.
func newServer(scrapes http.Handler, profiles bool, page func(*http.ServeMux, func(http.Handler) http.Handler)) *http.Server {
	mux := http.NewServeMux()
	page(mux, func(h http.Handler) http.Handler { return h })
	mux.Handle("GET /metrics", scrapes)
	answering := clientTimeout
	if profiles {
		answering = profileTimeout
		handleProfiles(mux)
	}
	return &http.Server{
		Handler: mux, MaxHeaderBytes: maxHeader,
		ReadTimeout: clientTimeout, WriteTimeout: answering, IdleTimeout: 2 * time.Minute,
	}
}

// serveBounded serves so many clients at once; others wait for one of them to go.
func serveBounded(server *http.Server, listener net.Listener) error {
	return server.Serve(netutil.LimitListener(listener, maxClients))
}

// scrapeHandler answers with what c collects.
func scrapeHandler(c prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}), nil
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

// handleProfiles adds the runtime's profiles, one request at a time. The command
// line, which is among those of net/http/pprof, is left out.
func handleProfiles(mux *http.ServeMux) {
	busy := make(chan struct{}, 1)
	for path, handler := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				handler(w, r)
			default:
				http.Error(w, "a profile is being taken", http.StatusServiceUnavailable)
			}
		})
	}
}
