package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"weightfs/tests/rig"
)

// Shape says how far away the server looks. Zero fields do not shape. Only
// responses are shaped.
type Shape struct {
	// FirstByte is the least time from a request's head to its response's.
	FirstByte time.Duration
	// PerConnection and Total are bytes of body per second.
	PerConnection, Total int64
	Tail                 Tail
}

// S3Like is the shape of a near bucket, scaled to a machine of two cores.
func S3Like() Shape {
	return Shape{FirstByte: 30 * time.Millisecond, PerConnection: 40e6, Total: 500e6}
}

// Proxy listens and forwards to one server. Close ends it.
type Proxy struct {
	// Endpoint is the URL for clients, without a trailing slash.
	Endpoint string

	ruleSet // SetRules
	ledger  // Stats and Log

	addr     string          // where it listens
	port     *os.File        // holds addr
	upstream string          // the server's address
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup // accept loop and connections

	mu       sync.Mutex
	shape    Shape              // guarded by mu
	total    *rate.Limiter      // guarded by mu
	listener net.Listener       // nil while refusing; guarded by mu
	conns    map[*conn]struct{} // guarded by mu
	lastConn int64              // guarded by mu
	counted  int64              // lastConn at the last ResetStats; guarded by mu
}

// New starts a proxy on loopback for the plain HTTP server at the URL upstream.
func New(upstream string) (*Proxy, error) { return NewAt(rig.Loopback(), upstream) }

// NewAt is New at an address of ours.
func NewAt(host netip.Addr, upstream string) (*Proxy, error) {
	at, ok := strings.CutPrefix(upstream, "http://")
	if !ok {
		return nil, fmt.Errorf("proxy: %q is not of the form http://HOST:PORT", upstream)
	}
	addr, holder, err := rig.TakePort(host)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{Endpoint: "http://" + addr, addr: addr, port: holder, upstream: at,
		total: rate.NewLimiter(rate.Inf, 0), conns: map[*conn]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.Accept(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Start runs a proxy until tb ends.
func Start(tb testing.TB, upstream string) *Proxy {
	tb.Helper()
	p, err := New(upstream)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// Close resets all connections and returns when nothing is left. It is called
// once.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.Refuse()
	p.wg.Wait()
	return errors.Join(err, p.port.Close())
}

// SetShape changes the shape for the responses that begin from now on; the
// total changes at once.
func (p *Proxy) SetShape(s Shape) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shape = s
	setRate(p.total, s.Total)
}

// ResetStats sets the counters to zero and empties the log. A tail begins anew,
// for the connections that come from now on.
func (p *Proxy) ResetStats() {
	p.mu.Lock()
	p.counted = p.lastConn
	p.mu.Unlock()
	p.reset()
}

// Refuse resets all connections and refuses new ones until Accept. The address
// stays the proxy's.
func (p *Proxy) Refuse() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
	if p.listener == nil {
		return nil
	}
	err := p.listener.Close()
	p.listener = nil
	return err
}

// Accept listens again, on the same address. A proxy that listens is left as
// it is; one that is closed stays closed.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.ctx.Err() != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.listener = l
	p.wg.Go(func() { p.acceptLoop(l) })
	return nil
}

// acceptLoop ends when l is closed.
func (p *Proxy) acceptLoop(l net.Listener) {
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client gave up already
		}
		if c := p.register(l, client.(*net.TCPConn)); c != nil {
			p.wg.Go(c.serve)
		}
	}
}

// register makes a conn of a client's connection, unless l was closed meanwhile.
func (p *Proxy) register(l net.Listener, client *net.TCPConn) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		client.Close()
		return nil
	}
	p.lastConn++
	c := &conn{
		proxy: p, number: p.lastConn, ordinal: p.lastConn - p.counted,
		client: client, clientR: bufio.NewReaderSize(client, headBuffer),
	}
	p.conns[c] = struct{}{}
	p.connected()
	return c
}

func (p *Proxy) unregister(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) currentShape() Shape {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shape
}

// turn is turn for all connections together.
func (p *Proxy) turn(n int64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return turn(p.total, n)
}

// sleepUntil waits for t, or returns the error of a closed proxy.
func (p *Proxy) sleepUntil(t time.Time) error {
	if d := time.Until(t); d > 0 {
		select {
		case <-time.After(d):
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err()
}
