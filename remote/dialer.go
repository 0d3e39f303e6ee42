package remote

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// dialTimeout bounds the connecting to one address. S3 answers a SYN within
// milliseconds; three seconds leave room for one lost SYN and its retry.
const dialTimeout = 3 * time.Second

// spreadDialer spreads connections over all addresses of a host: one S3
// front end is slower than a fast network card, and the name resolves to
// several. It is safe for concurrent use.
type spreadDialer struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	lookup func(ctx context.Context, host string) ([]string, error)
	turn   atomic.Uint64
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
	start := int(d.turn.Add(1) % uint64(max(len(addrs), 1)))
	var errs []error
	for i := range addrs {
		addr := addrs[(start+i)%len(addrs)]
		conn, err := d.dial(ctx, network, net.JoinHostPort(addr, port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host}
	}
	return nil, errors.Join(errs...)
}
