package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/remote"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// faulty is a bucket with one object, behind a proxy that injects faults.
type faulty struct {
	srv   *rig.Server
	proxy *proxy.Proxy
	store *remote.Retrying
	obj   remote.Object
	data  []byte
}

func newFaulty(t *testing.T, policy remote.RetryPolicy) *faulty {
	t.Helper()
	f := &faulty{srv: startS3(t), data: bytesOf(4 << 20)}
	f.proxy = proxy.Start(t, f.srv.Endpoint)
	f.srv.MustPut(t, "models", "dir/file", f.data)
	f.store = remote.WithRetry(openS3(t, "models", "", remote.S3Config{EndpointURL: f.proxy.Endpoint}), policy)
	var err error
	if f.obj, err = f.store.Stat(t.Context(), "dir/file"); err != nil {
		t.Fatal(err)
	}
	f.proxy.ResetStats()
	return f
}

// quick retries without losing time, and takes no slow machine for a stall.
func quick() remote.RetryPolicy {
	return remote.RetryPolicy{Attempts: 5, BaseDelay: time.Microsecond, StallTimeout: time.Minute}
}

func TestFaultsThatAreInvisible(t *testing.T) {
	f := newFaulty(t, quick())
	cases := []struct {
		name  string
		rule  proxy.Rule
		tries int64 // GETs it takes; 0 is any number
	}{
		{"overload", proxy.Rule{Op: "GET", Count: 3, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}}, 4},
		{"overload with Retry-After", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{Status: 503, Code: "SlowDown", RetryAfter: "0"}}, 2},
		{"too many requests", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{Status: 429}}, 2},
		{"internal error", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{Status: 500, Code: "InternalError"}}, 2},
		{"idle connection", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{Status: 400, Code: "RequestTimeout"}}, 2},
		{"expired token", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{Status: 403, Code: "ExpiredToken"}}, 2},
		{"no answer", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{End: proxy.Reset}}, 0}, // net/http itself may ask again
		{"reset", proxy.Rule{Op: "GET", Count: 3, Fault: proxy.Fault{End: proxy.Reset, After: 1 << 20}}, 0},
		{"truncated", proxy.Rule{Op: "GET", Count: 3, Fault: proxy.Fault{End: proxy.Truncate, After: 1 << 20}}, 4},
		{"shortened", proxy.Rule{Op: "GET", Count: 3, Fault: proxy.Fault{End: proxy.Shorten, After: 1 << 20}}, 4},
		{"another range, once", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{
			Response: map[string]string{"Content-Range": "bytes 1-4194303/4194304"}}}, 2},
		{"range ignored, once", proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{
			Edit: func(r *http.Response) { r.StatusCode = 200 }}}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f.proxy.ResetStats()
			f.proxy.SetRules(1, c.rule)
			got, err := read(t.Context(), f.store, f.obj, 0, f.obj.Size)
			if err != nil || !bytes.Equal(got, f.data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			stats := f.proxy.Stats()
			if n := stats.Requests["GET"]; c.tries != 0 && n != c.tries {
				t.Errorf("took %d requests, want %d", n, c.tries)
			}
			if stats.Faults == 0 {
				t.Error("the fault was not met")
			}
		})
	}
}

// TestSilenceIsReplaced has a connection stay open and say nothing more.
func TestSilenceIsReplaced(t *testing.T) {
	policy := quick()
	policy.StallTimeout, policy.Attempts = 200*time.Millisecond, 1000 // a slow machine is silent as well
	f := newFaulty(t, policy)
	for _, after := range []int64{0, 1 << 20} {
		before := f.store.Stats().Stalls
		f.proxy.SetRules(1, proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{End: proxy.Stall, After: after}})
		if got := mustRead(t, f.store, f.obj, 0, f.obj.Size); !bytes.Equal(got, f.data) {
			t.Errorf("after %d: content differs", after)
		}
		if f.store.Stats().Stalls == before {
			t.Errorf("after %d: no stall was counted", after)
		}
	}
}

func TestResumeAsksOnlyForTheRest(t *testing.T) {
	f := newFaulty(t, quick())
	var asked [][2]int64
	note := proxy.Rule{Op: "GET", When: func(r proxy.Request) bool {
		asked = append(asked, [2]int64{r.Offset, r.Length})
		return false
	}}
	f.proxy.SetRules(1, note, proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{End: proxy.Truncate, After: 1 << 20}})
	if got := mustRead(t, f.store, f.obj, 1000, 3<<20); !bytes.Equal(got, f.data[1000:1000+3<<20]) {
		t.Error("content differs")
	}
	f.proxy.SetRules(1) // orders what the rule noted before what follows
	if want := [][2]int64{{1000, 3 << 20}, {1000 + 1<<20, 2 << 20}}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestFaultsThatAreFinal(t *testing.T) {
	f := newFaulty(t, quick())
	cases := []struct {
		name  string
		fault proxy.Fault
		want  error
		tries int64
		text  []string
	}{
		{"refused", proxy.Fault{Status: 403, Code: "AccessDenied"}, fs.ErrPermission, 1, []string{"403", "AccessDenied"}},
		{"gone", proxy.Fault{Status: 404, Code: "NoSuchKey"}, remote.ErrChanged, 1, []string{"404"}},
		{"replaced", proxy.Fault{Status: 412, Code: "PreconditionFailed"}, remote.ErrChanged, 1, []string{"412"}},
		{"shrunk", proxy.Fault{Status: 416, Code: "InvalidRange"}, remote.ErrChanged, 1, []string{"416"}},
		{"archived", proxy.Fault{Status: 403, Code: "InvalidObjectState"}, remote.ErrArchived, 1, []string{"restore"}},
		{"bad request", proxy.Fault{Status: 400, Code: "InvalidArgument"}, nil, 1, []string{"400", "InvalidArgument"}},
		{"expired for good", proxy.Fault{Status: 403, Code: "ExpiredToken"}, fs.ErrPermission, 2, []string{"2 attempts"}},
		{"overload", proxy.Fault{Status: 503, Code: "SlowDown"}, nil, 5, []string{"503", "SlowDown", "5 attempts"}},
		{"ETag of another version", proxy.Fault{Response: map[string]string{"ETag": `"other"`}}, remote.ErrChanged, 3, []string{"ETag"}},
		{"another total", proxy.Fault{Response: map[string]string{"Content-Range": "bytes 0-4194303/4194305"}}, remote.ErrChanged, 3, nil},
		{"another range of another total", proxy.Fault{Response: map[string]string{"Content-Range": "bytes 0-9/10"}}, remote.ErrBadRange, 3, nil},
		{"no Content-Range", proxy.Fault{Response: map[string]string{"Content-Range": ""}}, remote.ErrBadRange, 3, []string{"3 attempts"}},
		{"range ignored", proxy.Fault{Edit: func(r *http.Response) { r.StatusCode = 200 }}, remote.ErrBadRange, 3, []string{"200"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f.proxy.ResetStats()
			f.proxy.SetRules(1, proxy.Rule{Op: "GET", Fault: c.fault})
			_, err := read(t.Context(), f.store, f.obj, 0, f.obj.Size)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Fatalf("error = %v, want %v", err, c.want)
			}
			if n := f.proxy.Stats().Requests["GET"]; n != c.tries {
				t.Errorf("took %d requests, want %d", n, c.tries)
			}
			for _, part := range append(c.text, "s3://models/dir/file [0,4194304)") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}
			if strings.Contains(err.Error(), f.srv.SecretKey) || strings.Contains(err.Error(), f.srv.AccessKey) {
				t.Errorf("error %q names a key", err)
			}
		})
	}
}

func TestReplacedWhileReading(t *testing.T) {
	f := newFaulty(t, quick())
	f.proxy.SetRules(1, proxy.Rule{Op: "GET", Count: 1, Fault: proxy.Fault{End: proxy.Truncate, After: 1 << 20}})
	body, err := f.store.OpenRange(t.Context(), f.obj, 0, f.obj.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	f.srv.MustPut(t, "models", "dir/file", bytes.ToUpper(f.data))
	got, err := io.ReadAll(body)
	if !errors.Is(err, remote.ErrChanged) {
		t.Errorf("error = %v, want ErrChanged", err)
	}
	if !bytes.Equal(got, f.data[:len(got)]) || len(got) > 1<<20 {
		t.Errorf("%d bytes, not all of the first version", len(got))
	}
}

func TestStatAndListAreRetried(t *testing.T) {
	f := newFaulty(t, quick())
	fault := proxy.Fault{Status: 503, Code: "SlowDown"}
	f.proxy.SetRules(1, proxy.Rule{Op: "HEAD", Count: 2, Fault: fault}, proxy.Rule{Op: "LIST", Count: 2, Fault: fault})
	if _, err := f.store.Stat(t.Context(), "dir/file"); err != nil {
		t.Error(err)
	}
	if got := collect(t, remote.List(t.Context(), f.store, "dir")); !slices.Equal(got, []string{"dir/file"}) {
		t.Errorf("List = %q", got)
	}
	if st := f.store.Stats(); st.Heads != 4 || st.Lists != 3 || st.Retries != 4 {
		t.Errorf("Stats = %+v", st)
	}
}

// signal is a log handler that tells when something is logged.
type signal struct {
	slog.Handler
	logged chan<- struct{}
}

func (signal) Enabled(context.Context, slog.Level) bool { return true }

func (s signal) Handle(context.Context, slog.Record) error {
	select {
	case s.logged <- struct{}{}:
	default: // told already
	}
	return nil
}

// TestTroubleIsReported holds that each attempt which is repeated is told to
// whoever asked.
func TestTroubleIsReported(t *testing.T) {
	f := newFaulty(t, quick())
	f.proxy.SetRules(1, proxy.Rule{Op: "GET", Count: 2, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}})
	var causes []error
	ctx := remote.WithTrouble(t.Context(), func(cause error) { causes = append(causes, cause) })
	if _, err := read(ctx, f.store, f.obj, 0, 1000); err != nil {
		t.Fatal(err)
	}
	if len(causes) != 2 || !strings.Contains(causes[1].Error(), "SlowDown") {
		t.Errorf("reported %v, want SlowDown twice", causes)
	}
}

func TestOutageEnds(t *testing.T) {
	retried := make(chan struct{}, 1)
	f := newFaulty(t, remote.RetryPolicy{Attempts: 10_000, BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond,
		Logger: slog.New(signal{slog.DiscardHandler, retried})})
	body, err := f.store.OpenRange(t.Context(), f.obj, 0, f.obj.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := f.proxy.Refuse(); err != nil {
		t.Fatal(err)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result)
	go func() {
		data, err := io.ReadAll(body)
		done <- result{data, err}
	}()
	select {
	case <-retried: // the reader has met the outage
	case r := <-done:
		t.Fatalf("read %d bytes during the outage, %v", len(r.data), r.err)
	}
	if err := f.proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil || !bytes.Equal(r.data, f.data) {
		t.Errorf("read %d bytes, %v", len(r.data), r.err)
	}
}

// TestWarningIsForTheExtraordinary holds that a request which fails twice is
// retried in silence, and one that fails more often warned of once.
func TestWarningIsForTheExtraordinary(t *testing.T) {
	for failures, want := range map[int]int{2: 0, 4: 1} {
		var log strings.Builder
		policy := quick()
		policy.Logger = slog.New(slog.NewTextHandler(&log, nil))
		f := newFaulty(t, policy)
		f.proxy.SetRules(1, proxy.Rule{Op: "GET", Count: failures, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}})
		mustRead(t, f.store, f.obj, 0, 1000)
		if got := strings.Count(log.String(), "level=WARN"); got != want {
			t.Errorf("%d failures: %d warnings, want %d: %s", failures, got, want, &log)
		}
	}
}

// TestConnectionsAreReused reads many ranges one after the other.
func TestConnectionsAreReused(t *testing.T) {
	f := newFaulty(t, quick())
	for i := range int64(20) {
		mustRead(t, f.store, f.obj, i*1000, 1000)
	}
	if n := f.proxy.Stats().Connections; n > 2 {
		t.Errorf("%d connections for 20 requests in a row", n)
	}
}
