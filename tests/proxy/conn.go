package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// headBuffer is the size of the buffers that heads are read through: the less
// of a body lands in them, the more of it is spliced.
const headBuffer = 4 << 10

// errLast ends a connection in order after an exchange.
var errLast = errors.New("last exchange of the connection")

// conn is one client connection with its server connection. One goroutine
// serves it; reset may be called from any.
type conn struct {
	proxy   *Proxy
	number  int64
	ordinal int64 // number since the counters were reset
	client  *net.TCPConn
	clientR *bufio.Reader
	serverR *bufio.Reader
	pace    pacer
	scratch []byte

	mu     sync.Mutex
	server *net.TCPConn // nil before the first request; written by serve, guarded by mu
	broken bool         // reset was called; guarded by mu
}

func newConn(p *Proxy, number int64, client *net.TCPConn) *conn {
	return &conn{proxy: p, number: number, client: client, clientR: bufio.NewReaderSize(client, headBuffer)}
}

// serve forwards exchanges until one side ends the connection.
func (c *conn) serve() {
	defer c.proxy.unregister(c)
	defer c.close()
	for {
		if err := c.exchange(); err != nil {
			return
		}
	}
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
}

// reset ends the connection with an RST.
func (c *conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.client.SetLinger(0)
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
}

// exchange is one request and its response under way.
type exchange struct {
	*conn
	head  *Head
	rule  Rule
	shape Shape
	rec   Record
}

// exchange forwards one request and its response.
func (c *conn) exchange() error {
	head, err := readHead(c.clientR)
	if err != nil {
		return err
	}
	req, err := parseRequest(head)
	if err != nil {
		return err
	}
	now := time.Now()
	var ordinal int64
	req.Conn = c.number
	req.Seq, ordinal = c.proxy.ledger.begin(req.Op, now)
	rule, fault := c.proxy.rules.pick(req)
	if fault {
		c.proxy.ledger.faulted()
	}
	shape := c.proxy.currentShape()
	shape.FirstByte, shape.PerConnection = shape.firstByte(ordinal), shape.perConnection(c.ordinal)
	x := &exchange{conn: c, head: head, rule: rule, shape: shape}
	x.rec = Record{Request: req, Start: now, Rule: rule.Name}
	err = x.run()
	x.rec.Duration = time.Since(now)
	if err != nil && err != errLast {
		x.rec.Err = err.Error()
	}
	c.proxy.ledger.end(x.rec)
	return err
}

func (x *exchange) run() error {
	if err := x.proxy.sleepUntil(x.rec.Start.Add(x.rule.Latency)); err != nil {
		return err
	}
	if x.rule.Status != 0 {
		return x.answer()
	}
	for name, value := range x.rule.Request {
		x.head.Set(name, value)
	}
	response, sent, err := x.forward()
	if err != nil {
		return err
	}
	err = x.respond(response)
	if !sent.finished() { // the server answered without reading the whole body
		x.client.SetReadDeadline(time.Now())
		return errors.Join(err, errLast)
	}
	return err
}

// answer sends the rule's status in the server's place.
func (x *exchange) answer() error {
	if err := x.waitFirstByte(); err != nil {
		return err
	}
	n, chunked, err := x.head.length()
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, x.rule.Code)
	if x.rec.Op == "HEAD" {
		body = ""
	}
	h := &Head{}
	h.SetStatus(x.rule.Status, http.StatusText(x.rule.Status))
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", fmt.Sprint(len(body)))
	h.Set("Retry-After", x.rule.RetryAfter)
	if err := x.writeHead(h); err != nil {
		return err
	}
	if _, err := io.WriteString(x.client, body); err != nil {
		return err
	}
	if n > 0 || chunked {
		return errLast // the request's body is left unread
	}
	return nil
}

// forward sends the request and reads the head of its response. A kept
// connection that the server has dropped meanwhile is replaced, once.
func (x *exchange) forward() (*Head, *upload, error) {
	n, chunked, err := x.head.length()
	if err != nil {
		return nil, nil, err
	}
	for reused := x.server != nil; ; reused = false {
		if err := x.connect(); err != nil {
			return nil, nil, err
		}
		x.scratch = x.head.appendTo(x.scratch[:0])
		if _, err = x.server.Write(x.scratch); err == nil {
			sent := x.startUpload(n, chunked)
			var response *Head
			if response, err = x.readResponse(); err == nil {
				return response, sent, nil
			}
		}
		if !reused || n > 0 || chunked {
			return nil, nil, err
		}
		x.disconnect()
	}
}

// readResponse returns the head of the final response; interim ones are
// passed on.
func (x *exchange) readResponse() (*Head, error) {
	for {
		h, err := readHead(x.serverR)
		if err != nil || h.Status() >= 200 {
			return h, err
		}
		if _, err := x.client.Write(h.appendTo(nil)); err != nil {
			return nil, err
		}
	}
}

// connect makes the server connection where there is none.
func (c *conn) connect() error {
	if c.server != nil {
		return nil
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(c.proxy.ctx, "tcp", c.proxy.upstream)
	if err != nil {
		c.reset()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		server.Close()
		return net.ErrClosed
	}
	c.server = server.(*net.TCPConn)
	c.serverR = bufio.NewReaderSize(server, headBuffer)
	return nil
}

func (c *conn) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server.Close()
	c.server = nil
}

// waitFirstByte waits until the response may begin.
func (x *exchange) waitFirstByte() error {
	return x.proxy.sleepUntil(x.rec.Start.Add(x.rule.Latency + x.shape.FirstByte))
}

func (x *exchange) writeHead(h *Head) error {
	x.rec.Status, x.rec.FirstByte = h.Status(), time.Since(x.rec.Start)
	x.scratch = h.appendTo(x.scratch[:0])
	_, err := x.client.Write(x.scratch)
	return err
}

// closes says whether a message ends its connection.
func closes(h *Head) bool { return strings.EqualFold(h.Get("Connection"), "close") }

// upload is a request's body on its way to the server.
type upload struct {
	done chan struct{} // closed at its end
	err  error         // read after done
}

// startUpload forwards the body of a request, which may wait for an interim
// response.
func (x *exchange) startUpload(n int64, chunked bool) *upload {
	u := &upload{done: make(chan struct{})}
	if n <= 0 && !chunked {
		close(u.done)
		return u
	}
	server := x.server
	x.proxy.wg.Go(func() {
		defer close(u.done)
		if chunked {
			u.err = copyChunked(server, x.clientR)
		} else {
			_, u.err = io.CopyN(server, x.clientR, n)
		}
	})
	return u
}

// finished says whether the whole body has gone.
func (u *upload) finished() bool {
	select {
	case <-u.done:
		return u.err == nil
	default:
		return false
	}
}

// stall holds the connection until the client or the proxy ends it.
func (x *exchange) stall() error {
	stop := context.AfterFunc(x.proxy.ctx, func() { x.client.SetReadDeadline(time.Now()) })
	defer stop()
	_, err := io.Copy(io.Discard, x.client)
	return errors.Join(errors.New("stalled"), err)
}
