// Package tier reads a store through a cache that a fleet of nodes shares, so that
// the store is asked for each byte once and not by every node.
//
// A [Tier] stands for the cache: any HTTP cache that fulfils the contract of
// request.go, reached by the URLs of its instances. [Tier.Wrap] puts it before a
// store. Listings and look-ups go to the store; a range goes to the instance that
// its place chooses (choice.go), as a GET presigned for the store (signed.go), and
// what is answered is held against the object's version before a byte of it is
// used. What the tier does not answer so is asked of the store (body.go): once,
// from the last byte on, and within a budget of bytes (budget.go), for there are
// hundreds of nodes and the tier was there to spare the store. An instance that
// fails is left alone for a while (breaker.go). A reader notices all of this as
// time, and gets the store's error where the store has one too.
//
// Who owns what: the Tier owns its connections and its probes until Close, the
// store stays the caller's. All methods are safe for concurrent use.
package tier

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"weightfs/remote"
	"weightfs/remote/retry"
)

const (
	// Block is the unit in which a tier caches, in bytes. A range within one block
	// has the tier fetch all of it, so large GETs should be of whole blocks.
	Block = 8 << 20
	// DefaultDirectRate is the budget of direct bytes per second: a connection or
	// two to S3. With it, 100 nodes without their tier ask a store for 13 GB/s.
	DefaultDirectRate = 128 << 20

	// connectTimeout bounds the connecting to an instance: it is near.
	connectTimeout = time.Second
	// patience is how long a tier may be silent: another node may be having the
	// same block filled, or the tier may be passing over an instance that hangs.
	patience = 10 * time.Second
	// minRate is the fewest bytes per second of a body that is worth waiting for.
	minRate = 256 << 10
	// maxTries is how many instances are asked for one range.
	maxTries = 2
	// connections are kept for reuse with each instance.
	connections = 256
	// readBufferSize of a connection is as that of one to the store.
	readBufferSize = 32 << 10
)

// Config says where a tier is. All but URLs may be zero.
type Config struct {
	// URLs are those of the tier's instances, http:// or https://, a host and a
	// port, in any order that is the same for all nodes.
	URLs []string
	// Header is sent to the tier with each request.
	Header http.Header
	// CABundle is a PEM file of certificates to trust beside the system's.
	CABundle string
	// ReadTimeout is how long a read may wait, 0 for ever: credentials to sign with
	// and instances have at most half of it together.
	ReadTimeout time.Duration
	// DirectRate is the budget in bytes per second of what the store is asked for
	// in place of the tier; 0 is DefaultDirectRate, below 0 is no limit.
	DirectRate int64
	// Logger is told of instances that fail and come back; nil discards.
	Logger *slog.Logger
}

// Tier is a shared cache of ranges of objects.
type Tier struct {
	instances []*instance
	header    http.Header
	transport http.RoundTripper
	retrier   *retry.Retrier // makes one attempt, under a watch
	patience  time.Duration
	budget    *budget
	logger    *slog.Logger
	counts    counts

	ctx    context.Context // of the probes
	stop   context.CancelFunc
	probes sync.WaitGroup
}

// New checks cfg. No instance is asked yet: one that is not there is a fault that
// passes.
func New(cfg Config) (*Tier, error) {
	t := &Tier{header: cfg.Header, budget: newBudget(cmp.Or(cfg.DirectRate, DefaultDirectRate)),
		logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), patience: patience}
	if len(cfg.URLs) == 0 {
		return nil, errors.New("shared cache: no URL given")
	}
	for _, raw := range cfg.URLs {
		at, err := parseURL(raw)
		if err != nil {
			return nil, fmt.Errorf("shared cache: %w", err)
		}
		if slices.ContainsFunc(t.instances, func(in *instance) bool { return in.name == at.String() }) {
			return nil, fmt.Errorf("shared cache: URL %s is given twice", at)
		}
		t.instances = append(t.instances, &instance{url: at, name: at.String(), breaker: breaker{jitter: jitter}})
	}
	if err := checkHeader(cfg.Header); err != nil {
		return nil, fmt.Errorf("shared cache: %w", err)
	}
	if cfg.ReadTimeout > 0 {
		t.patience = min(patience, cfg.ReadTimeout/(2*(1+maxTries)))
	}
	transport, err := newTransport(cfg.CABundle)
	if err != nil {
		return nil, fmt.Errorf("shared cache: %w", err)
	}
	t.transport = transport
	t.retrier = retry.New(retry.Policy{Attempts: 1, StallTimeout: t.patience, MinRate: minRate},
		func(error) retry.Failure { return retry.Failure{} })
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t, nil
}

// parseURL takes an instance's URL, which has no user name, path or query.
func parseURL(raw string) (*url.URL, error) {
	at, err := url.Parse(raw)
	switch {
	case strings.Contains(raw, "@"):
		return nil, errors.New("a URL has a user name, and would be logged with it: send credentials in a header")
	case err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "":
		return nil, fmt.Errorf("%q is not an http:// or https:// URL", raw)
	case strings.Trim(at.Path, "/") != "" || at.RawQuery != "" || at.Fragment != "":
		return nil, fmt.Errorf("URL %q has a path or a query: want a host and a port, since the paths are those of the store", raw)
	}
	return &url.URL{Scheme: at.Scheme, Host: at.Host}, nil
}

// checkHeader refuses fields that are the contract's own, and what is none.
func checkHeader(header http.Header) error {
	for name, values := range header {
		if slices.Contains([]string{"Host", "Range", "If-Match", "If-Range", "Accept-Encoding", "Connection", "Content-Length", "Transfer-Encoding"}, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("header %s is the client's own", name)
		}
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
			return fmt.Errorf("%q is not the name of a header", name)
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return fmt.Errorf("the value of header %s has a control character", name)
			}
		}
	}
	return nil
}

// newTransport is tuned for many large bodies at once from hosts that are near. It
// takes no proxy from the environment, which is the way to the store.
func newTransport(bundle string) (*http.Transport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's CA certificates: %w", err)
	}
	if bundle != "" {
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, fmt.Errorf("read CA bundle: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA bundle %s has no certificate", bundle)
		}
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 2 * connectTimeout,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     time.Minute,
		ReadBufferSize:      readBufferSize,
		DisableCompression:  true, // ranges are those of the stored bytes
		// HTTP/2 would put all bodies on one connection.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}, nil
}

// Wrap returns store with the tier before it. A store whose objects have no URL, as
// a local folder, is returned as it is. Closing the result closes store alone.
func (t *Tier) Wrap(store remote.Store) remote.Store {
	presigner, ok := store.(remote.Presigner)
	if !ok {
		return store
	}
	return &tiered{Store: store, tier: t, signer: newSigner(presigner)}
}

// Close ends the probes and releases idle connections. Bodies still open end by
// their own Close or context.
func (t *Tier) Close() error {
	t.stop()
	t.probes.Wait()
	if idle, ok := t.transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	return nil
}
