package remote

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialTimeout bounds the connecting to one address. S3 answers a SYN within
	// milliseconds; three seconds leave room for one lost SYN and its retry.
	dialTimeout = 3 * time.Second
	// shunTime is for how long an address that failed is tried last: S3 takes
	// a dead front end out of its name within a minute or so.
	shunTime = time.Minute
)

// spreadDialer spreads connections over all addresses of a host: one S3
// front end is slower than a fast network card, and the name resolves to
// several. It is safe for concurrent use.
type spreadDialer struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	lookup func(ctx context.Context, host string) ([]string, error)
	turn   atomic.Uint64

	mu     sync.Mutex
	failed map[string]time.Time // guarded by mu; when, by address
}

func newSpreadDialer() *spreadDialer {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &spreadDialer{dial: d.DialContext, lookup: net.DefaultResolver.LookupHost}
}

// DialContext connects to the next address of the host in turn, and to the
// others where that fails.
func (d *spreadDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil {
		return d.dial(ctx, network, address)
	}
	addrs, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host}
	}
	var errs []error
	for _, addr := range d.order(addrs, time.Now()) {
		conn, err := d.dial(ctx, network, net.JoinHostPort(addr, port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil { // no word against the address
			break
		}
		d.shun(addr, time.Now())
	}
	return nil, errors.Join(errs...)
}

// order is the addresses in the order to try them: the next in turn first,
// those that failed lately last.
func (d *spreadDialer) order(addrs []string, now time.Time) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var up, down []string
	for _, addr := range addrs {
		if at, ok := d.failed[addr]; ok && now.Sub(at) < shunTime {
			down = append(down, addr)
		} else {
			up = append(up, addr)
		}
	}
	if len(up) > 0 {
		turn := int(d.turn.Add(1) % uint64(len(up)))
		up = slices.Concat(up[turn:], up[:turn])
	}
	return append(up, down...)
}

// shun records that an address failed, and forgets those that did long ago.
func (d *spreadDialer) shun(addr string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed == nil {
		d.failed = make(map[string]time.Time)
	}
	for addr, at := range d.failed {
		if now.Sub(at) >= shunTime {
			delete(d.failed, addr)
		}
	}
	d.failed[addr] = now
}
