package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestSuccessorKeepsItsSocket ends a mount after another took its place.
func TestSuccessorKeepsItsSocket(t *testing.T) {
	m := &mounted{mountpoint: t.TempDir(), logger: slog.New(slog.DiscardHandler)}
	name, err := controlSocket(os.LookupEnv, m.mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	first, err := m.serveControl()
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.serveControl()
	if err != nil {
		t.Fatal(err)
	}
	if err := first(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
	if err := second(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Errorf("after the end of both: %v", err)
	}
}

// serveMetricsAt starts a mountd and returns the address of its metrics.
func serveMetricsAt(t *testing.T) string {
	t.Helper()
	p := start(t, nil, "--http", "127.0.0.1:0", source(t), t.TempDir())
	_, url, _ := strings.Cut(p.await("serving metrics"), "http://")
	t.Cleanup(func() {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if code := p.exit(); code != 0 {
			t.Errorf("exit %d: %s", code, p.said)
		}
	})
	address, _, _ := strings.Cut(url, "/")
	return address
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(clientTimeout / 2)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestMetricsConnectionsAreBounded has idle clients take all there are.
func TestMetricsConnectionsAreBounded(t *testing.T) {
	address := serveMetricsAt(t)
	for range maxClients {
		conn := dial(t, address)
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := dial(t, address).Read(make([]byte, 1))
	if ne, ok := err.(net.Error); n != 0 || err == nil || ok && ne.Timeout() {
		t.Errorf("one more: %d bytes, %v", n, err)
	}
}

func TestMetricsHeadersAreBounded(t *testing.T) {
	conn := dial(t, serveMetricsAt(t))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 4*maxHeader))
	answer, _ := io.ReadAll(conn) // what was not read of the request may reset it
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("got %.40q", answer)
	}
}

// TestSilentClientIsCutOff holds that a client which never ends its request is
// let go.
func TestSilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	conn := dial(t, serveMetricsAt(t))
	if err := conn.SetDeadline(time.Now().Add(3 * clientTimeout)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n") // and no more
	_, err := io.Copy(io.Discard, conn)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("the connection is kept")
	}
}

// slowCollector collects until it is told to go on.
type slowCollector struct{ entered, goOn chan struct{} }

func (c slowCollector) Describe(chan<- *prometheus.Desc) {}

func (c slowCollector) Collect(chan<- prometheus.Metric) {
	c.entered <- struct{}{}
	<-c.goOn
}

func TestScrapesAreBounded(t *testing.T) {
	c := slowCollector{make(chan struct{}), make(chan struct{})}
	handler, err := scrapeHandler(c)
	if err != nil {
		t.Fatal(err)
	}
	scrape := func() int {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return answer.Code
	}
	codes := make(chan int)
	for range maxScrapes {
		go func() { codes <- scrape() }()
		<-c.entered
	}
	if code := scrape(); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", code)
	}
	close(c.goOn)
	for range maxScrapes {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one of them: %d", code)
		}
	}
}

// TestSignalAtTheEndOfTheStart holds that no signal is lost to a start that ends
// as it comes.
func TestSignalAtTheEndOfTheStart(t *testing.T) {
	for range 1000 {
		a := &app{signals: make(chan os.Signal, 2)}
		_, stop := a.untilSignal()
		go func() { a.signals <- syscall.SIGTERM }()
		stop()
		select {
		case <-a.signals:
		case <-time.After(10 * time.Second):
			t.Fatal("the signal is lost")
		}
	}
}
