package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"weightfs/tests/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a proxy before a server that holds "bucket/object".
type fixture struct {
	*Proxy
	server  *rig.Server
	client  *s3.Client
	content []byte
}

func start(tb testing.TB, size int) *fixture {
	tb.Helper()
	server := rig.StartServer(tb, rig.ServerOptions{})
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	server.Fill(tb, "bucket", map[string][]byte{"object": content})
	p := Start(tb, server.Endpoint)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	options := server.Client().Options()
	options.BaseEndpoint = &p.Endpoint
	options.HTTPClient = &http.Client{Transport: transport}
	return &fixture{Proxy: p, server: server, client: s3.New(options), content: content}
}

// open asks for a range of the object.
func (f *fixture) open(ctx context.Context, off, n int) (*s3.GetObjectOutput, error) {
	return f.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String("bucket"), Key: aws.String("object"),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
	})
}

// get reads a range of the object: the output, the bytes, and how it failed.
func (f *fixture) get(ctx context.Context, off, n int) (*s3.GetObjectOutput, []byte, error) {
	out, err := f.open(ctx, off, n)
	if err != nil {
		return nil, nil, err
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return out, data, err
}

func TestProxyPassesEverythingOn(t *testing.T) {
	f := start(t, 20<<20)
	ctx := t.Context()
	for range 2 { // the second one on a kept connection
		if _, data, err := f.get(ctx, 1<<20, 16<<20); err != nil || !bytes.Equal(data, f.content[1<<20:17<<20]) {
			t.Fatalf("GET: %d bytes, %v", len(data), err)
		}
	}
	head, err := f.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("object")})
	if err != nil || *head.ContentLength != int64(len(f.content)) {
		t.Fatalf("HEAD: %v", err)
	}
	list, err := f.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	if err != nil || len(list.Contents) != 1 {
		t.Fatalf("LIST: %v", err)
	}
	log := f.Log()
	// The client has the last byte a moment before the proxy has noted it.
	for end := time.Now().Add(10 * time.Second); len(log) < 4 && time.Now().Before(end); log = f.Log() {
		runtime.Gosched()
	}
	stats := f.Stats()
	for op, want := range map[string]int64{"GET": 2, "HEAD": 1, "LIST": 1} {
		if stats.Requests[op] != want {
			t.Errorf("%d %ss counted, want %d", stats.Requests[op], op, want)
		}
	}
	if stats.Bytes["GET"] != 32<<20 || stats.Connections != 1 {
		t.Errorf("stats are %+v", stats)
	}
	if r := log[1]; len(log) != 4 || r.Op != "GET" || r.Key != "object" || r.Offset != 1<<20 || r.Length != 16<<20 ||
		r.Status != 206 || r.Bytes != 16<<20 || r.Err != "" {
		t.Errorf("log has %d records, the second is %+v", len(log), r)
	}
}

func TestFaults(t *testing.T) {
	const size = 1 << 20
	f := start(t, size)
	tests := []struct {
		name  string
		fault Fault
		check func(out *s3.GetObjectOutput, data []byte, err error) bool
	}{
		{"status", Fault{Status: 503, Code: "SlowDown", RetryAfter: "7"}, func(_ *s3.GetObjectOutput, _ []byte, err error) bool {
			api, _ := errors.AsType[smithy.APIError](err)
			response, _ := errors.AsType[*smithyhttp.ResponseError](err)
			return api.ErrorCode() == "SlowDown" && response.HTTPStatusCode() == 503 && response.Response.Header.Get("Retry-After") == "7"
		}},
		{"reset before the head", Fault{End: Reset}, func(_ *s3.GetObjectOutput, _ []byte, err error) bool {
			return errors.Is(err, syscall.ECONNRESET)
		}},
		{"reset in the body", Fault{End: Reset, After: size / 2}, func(_ *s3.GetObjectOutput, data []byte, err error) bool {
			return errors.Is(err, syscall.ECONNRESET) && len(data) <= size/2
		}},
		{"stall", Fault{End: Stall, After: size / 2}, func(_ *s3.GetObjectOutput, data []byte, err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && len(data) == size/2
		}},
		{"truncate", Fault{End: Truncate, After: 1000}, func(_ *s3.GetObjectOutput, data []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && len(data) == 1000
		}},
		{"shorten", Fault{End: Shorten, After: 1000}, func(_ *s3.GetObjectOutput, data []byte, err error) bool {
			return err == nil && len(data) == 1000
		}},
		{"wrong range and ETag", Fault{Response: map[string]string{"Content-Range": "bytes 5-9/10", "ETag": `"other"`}},
			func(out *s3.GetObjectOutput, _ []byte, err error) bool {
				return err == nil && *out.ContentRange == "bytes 5-9/10" && *out.ETag == `"other"`
			}},
		{"edited status", Fault{Edit: func(r *http.Response) { r.StatusCode = 200; r.Header.Del("Content-Range") }},
			func(out *s3.GetObjectOutput, data []byte, err error) bool {
				return err == nil && out.ContentRange == nil && len(data) == size
			}},
		{"signed header rewritten", Fault{Request: map[string]string{"Accept-Encoding": "identity,gzip(gfe)"}},
			func(_ *s3.GetObjectOutput, _ []byte, err error) bool {
				api, ok := errors.AsType[smithy.APIError](err)
				return ok && api.ErrorCode() == "SignatureDoesNotMatch"
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.SetRules(1, Rule{Op: "GET", Fault: tt.fault})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if tt.fault.End == Stall {
				ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			}
			defer cancel()
			if out, data, err := f.get(ctx, 0, size); !tt.check(out, data, err) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
			f.SetRules(1)
			if _, data, err := f.get(t.Context(), 0, size); err != nil || !bytes.Equal(data, f.content) {
				t.Errorf("the next request: %d bytes, %v", len(data), err)
			}
		})
	}
}

// A held request is under way, and answered when it is released.
func TestHold(t *testing.T) {
	f := start(t, 10)
	release, asked := make(chan struct{}), make(chan struct{})
	f.SetRules(1, Rule{Fault: Fault{Hold: release}, When: func(Request) bool { close(asked); return true }})
	go func() {
		<-asked
		if s := f.Stats(); s.InFlight != 1 || len(f.Log()) != 0 {
			t.Errorf("%d requests are under way, %d are finished", s.InFlight, len(f.Log()))
		}
		close(release)
	}()
	if _, data, err := f.get(t.Context(), 0, 10); err != nil || !bytes.Equal(data, f.content) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func TestRefuseAndAccept(t *testing.T) {
	f := start(t, 1000)
	if err := f.Refuse(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.get(t.Context(), 0, 10); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refusing: %v", err)
	}
	for range 2000 { // a free port is another one
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if "http://"+l.Addr().String() == f.Endpoint {
			t.Error("somebody else got the address")
		}
		l.Close()
	}
	if err := f.Accept(); err != nil {
		t.Fatal(err)
	}
	if _, data, err := f.get(t.Context(), 0, 10); err != nil || !bytes.Equal(data, f.content[:10]) {
		t.Errorf("accepting again: %v", err)
	}
}

// BenchmarkProxy reads 256 MiB in parts of 8 MiB through the proxy, and reports
// the processor time of client and proxy together.
func BenchmarkProxy(b *testing.B) {
	for _, bb := range []struct {
		name        string
		shape       Shape
		connections int
	}{
		{"unshaped", Shape{}, 16},
		{"one-connection", Shape{PerConnection: 40e6}, 1},
		{"total", Shape{Total: 500e6}, 16},
		{"s3", S3Like(), 32},
	} {
		b.Run(bb.name, func(b *testing.B) {
			const part = 8 << 20
			f := start(b, 256<<20)
			f.SetShape(bb.shape)
			b.SetBytes(int64(len(f.content)))
			before := cpuTime(b)
			for b.Loop() {
				var group errgroup.Group
				group.SetLimit(bb.connections)
				for off := 0; off < len(f.content); off += part {
					group.Go(func() error {
						out, err := f.open(b.Context(), off, part)
						if err != nil {
							return err
						}
						defer out.Body.Close()
						_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, out.Body, make([]byte, 1<<20))
						return err
					})
				}
				if err := group.Wait(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.Elapsed()), "cores")
		})
	}
}

// cpuTime is what this process, client and proxy, has used so far.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
