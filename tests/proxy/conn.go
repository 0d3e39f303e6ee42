package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

	mu     sync.Mutex
	server *net.TCPConn // nil before the first request; written by serve, guarded by mu
	broken bool         // reset was called; guarded by mu
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
	c.broken = true
	c.client.SetLinger(0)
	c.mu.Unlock()
	c.close()
}

// exchange is one request and its response under way.
type exchange struct {
	*conn
	request *http.Request
	rule    Rule
	shape   Shape
	rec     Record
}

// exchange forwards one request and its response.
func (c *conn) exchange() error {
	request, err := http.ReadRequest(c.clientR)
	if err != nil {
		return err
	}
	now := time.Now()
	x := &exchange{conn: c, request: request, shape: c.proxy.currentShape()}
	x.rec = Record{Request: describe(request), Start: now}
	x.rec.Conn = c.number
	var ordinal int64
	x.rec.Seq, ordinal = c.proxy.begin(x.rec.Op)
	x.shape.FirstByte, x.shape.PerConnection = x.shape.firstByte(ordinal), x.shape.perConnection(c.ordinal)
	if rule, ok := c.proxy.pick(x.rec.Request); ok {
		x.rule, x.rec.Rule = rule, &rule
		c.proxy.faulted()
	}
	err = x.run()
	x.rec.Duration = time.Since(now)
	if err != nil && err != errLast {
		x.rec.Err = err.Error()
	}
	c.proxy.end(x.rec)
	return err
}

func (x *exchange) run() error {
	if x.request.ContentLength != 0 {
		return errors.New("a request with a body")
	}
	if err := x.proxy.sleepUntil(x.rec.Start.Add(x.rule.Latency)); err != nil {
		return err
	}
	if x.rule.Hold != nil {
		select {
		case <-x.rule.Hold:
		case <-x.proxy.ctx.Done():
			return x.proxy.ctx.Err()
		}
	}
	if x.rule.Status != 0 {
		return x.answer()
	}
	edit(x.request.Header, x.rule.Request)
	response, err := x.forward()
	if err != nil {
		return err
	}
	return x.respond(response)
}

// answer sends the rule's status in the server's place.
func (x *exchange) answer() error {
	if err := x.waitFirstByte(); err != nil {
		return err
	}
	body := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, x.rule.Code)
	if x.rec.Op == "HEAD" {
		body = ""
	}
	header := http.Header{}
	edit(header, map[string]string{
		"Content-Type": "application/xml", "Content-Length": fmt.Sprint(len(body)), "Retry-After": x.rule.RetryAfter,
	})
	if err := x.writeHead(x.rule.Status, header); err != nil {
		return err
	}
	_, err := io.WriteString(x.client, body)
	return err
}

// forward sends the request and reads the head of its response. A kept
// connection that the server has dropped meanwhile is replaced, once.
func (x *exchange) forward() (*http.Response, error) {
	start := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s", x.request.Method, x.request.RequestURI, x.request.Host)
	for reused := x.server != nil; ; reused = false {
		if err := x.connect(); err != nil {
			return nil, err
		}
		err := sendHead(x.server, start, x.request.Header)
		if err == nil {
			var response *http.Response
			if response, err = http.ReadResponse(x.serverR, x.request); err == nil {
				return response, nil
			}
		}
		if !reused {
			return nil, err
		}
		x.disconnect()
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

func (x *exchange) writeHead(status int, header http.Header) error {
	x.rec.Status, x.rec.FirstByte = status, time.Since(x.rec.Start)
	return sendHead(x.client, fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), header)
}

// sendHead sends a head by one write.
func sendHead(w io.Writer, start string, header http.Header) error {
	head := bytes.NewBufferString(start + "\r\n")
	header.Write(head) // a Buffer never fails
	head.WriteString("\r\n")
	_, err := head.WriteTo(w)
	return err
}

// edit sets fields of a header; "" removes one.
func edit(header http.Header, fields map[string]string) {
	for name, value := range fields {
		header.Set(name, value)
		if value == "" {
			header.Del(name)
		}
	}
}

// stall holds the connection until the client or the proxy ends it.
func (x *exchange) stall() error {
	stop := context.AfterFunc(x.proxy.ctx, func() { x.client.SetReadDeadline(time.Now()) })
	defer stop()
	_, err := io.Copy(io.Discard, x.client)
	return errors.Join(errors.New("stalled"), err)
}
