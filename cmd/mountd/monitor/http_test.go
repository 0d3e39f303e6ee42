package monitor

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pipes is a listener whose connections are pipes within the process, so that time
// can be virtual.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.IPAddr{} }

// dial connects to the server.
func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// withMetricsServer has test be a client of the metrics, in virtual time.
func withMetricsServer(t *testing.T, test func(t *testing.T, server pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server, connections := boundedServer(http.NotFoundHandler(), false), make(pipes)
		go serveBounded(server, connections)
		defer time.Sleep(time.Minute) // net/http lets a client go slowly
		defer server.Close()
		defer close(connections) // which Close waits for
		test(t, connections)
	})
}

// ask sends the beginning of a request, and returns what comes until the
// connection ends or wait is over.
func ask(conn net.Conn, wait time.Duration, request string) string {
	conn.SetDeadline(time.Now().Add(wait))
	go io.WriteString(conn, request) // may be cut off on the way
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// TestMetricsConnectionsAreBounded has idle clients take all there are.
func TestMetricsConnectionsAreBounded(t *testing.T) {
	withMetricsServer(t, func(t *testing.T, server pipes) {
		var conn net.Conn
		for range maxClients {
			conn = server.dial()
			defer conn.Close()
			if got := ask(conn, time.Millisecond, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
				t.Fatalf("one of them: %q", got)
			}
		}
		dialled := make(chan net.Conn)
		go func() { dialled <- server.dial() }()
		synctest.Wait()
		select {
		case <-dialled:
			t.Fatal("one more is served beside them")
		default:
		}
		conn.Close()
		conn = <-dialled
		defer conn.Close()
		if got := ask(conn, time.Millisecond, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Errorf("one more, after one has gone: %q", got)
		}
	})
}

func TestMetricsHeadersAreBounded(t *testing.T) {
	withMetricsServer(t, func(t *testing.T, server pipes) {
		conn := server.dial()
		defer conn.Close()
		got := ask(conn, time.Millisecond, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 4*maxHeader)+"\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
			t.Errorf("got %.40q", got)
		}
	})
}

// TestSilentClientIsCutOff holds that a client which never ends its request is
// let go.
func TestSilentClientIsCutOff(t *testing.T) {
	withMetricsServer(t, func(t *testing.T, server pipes) {
		conn := server.dial()
		defer conn.Close()
		began := time.Now()
		ask(conn, time.Hour, "GET /metrics HTTP/1.1\r\nHost: x\r\n") // and no more
		if took := time.Since(began); took != clientTimeout {
			t.Errorf("the connection is kept for %v", took)
		}
	})
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
