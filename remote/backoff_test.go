package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	answer := func(op string, status int, code string) error {
		return &requestError{op: op, status: status, code: code, sentinel: sentinelFor(op, status, code)}
	}
	transport := func(err error) error { return &requestError{op: "GET", cause: err} }
	cases := []struct {
		err  error
		want verdict
	}{
		{answer("GET", 500, "InternalError"), tryAgain},
		{answer("GET", 503, "SlowDown"), tryAgain},
		{answer("GET", 502, ""), tryAgain},
		{answer("GET", 501, "NotImplemented"), giveUp},
		{answer("GET", 429, ""), tryAgain},
		{answer("GET", 408, ""), tryAgain},
		{answer("GET", 400, "RequestTimeout"), tryAgain},
		{answer("GET", 400, "Throttling"), tryAgain}, // by STS
		{answer("GET", 307, "TemporaryRedirect"), tryAgain},
		{answer("LIST", 200, ""), tryAgain},
		{answer("GET", 400, "InvalidArgument"), giveUp},
		{answer("GET", 400, "ExpiredToken"), refresh},
		{answer("GET", 403, "ExpiredToken"), refresh},
		{answer("GET", 403, "RequestTimeTooSkewed"), refresh},
		{answer("GET", 403, "AccessDenied"), giveUp},
		{answer("GET", 403, "InvalidObjectState"), giveUp},
		{answer("HEAD", 403, ""), giveUp},
		{answer("GET", 401, ""), giveUp},
		{answer("GET", 404, "NoSuchKey"), giveUp},
		{answer("HEAD", 404, "NotFound"), giveUp},
		{answer("GET", 412, "PreconditionFailed"), giveUp},
		{answer("GET", 416, "InvalidRange"), giveUp},
		{answer("LIST", 301, "PermanentRedirect"), giveUp},
		{transport(io.ErrUnexpectedEOF), tryAgain},
		{transport(syscall.ECONNRESET), tryAgain},
		{transport(errors.New("http: server closed idle connection")), tryAgain},
		{transport(&tls.CertificateVerificationError{Err: errors.New("unknown")}), giveUp},
		{transport(context.Canceled), giveUp},
		{transport(context.DeadlineExceeded), tryAgain}, // of an attempt; the request's own ends it anyway
		{transport(fmt.Errorf("HTTP 200: %w", ErrBadRange)), suspect},
		{transport(fmt.Errorf("ETag: %w: %w", errDoubtful, ErrChanged)), suspect},
		{transport(fmt.Errorf("gone: %w", ErrChanged)), giveUp},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), tryAgain},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, tryAgain},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, giveUp},
		{ErrArchived, giveUp},
		{fs.ErrInvalid, giveUp},
	}
	for _, c := range cases {
		if got := classify(c.err); got != c.want {
			t.Errorf("classify(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestSentinels(t *testing.T) {
	cases := []struct {
		op     string
		status int
		code   string
		want   error
	}{
		{"GET", 404, "NoSuchKey", ErrChanged},
		{"GET", 412, "PreconditionFailed", ErrChanged},
		{"GET", 416, "InvalidRange", ErrChanged},
		{"HEAD", 404, "NotFound", fs.ErrNotExist},
		{"LIST", 404, "NoSuchBucket", fs.ErrNotExist},
		{"GET", 403, "AccessDenied", fs.ErrPermission},
		{"LIST", 401, "", fs.ErrPermission},
		{"GET", 403, "InvalidObjectState", ErrArchived},
		{"GET", 503, "SlowDown", nil},
		{"LIST", 412, "", nil},
	}
	for _, c := range cases {
		if got := sentinelFor(c.op, c.status, c.code); got != c.want {
			t.Errorf("sentinelFor(%s, %d, %s) = %v, want %v", c.op, c.status, c.code, got, c.want)
		}
	}
	if !errors.Is(ErrArchived, fs.ErrPermission) {
		t.Error("ErrArchived is not fs.ErrPermission")
	}
}

func TestScheduleDelays(t *testing.T) {
	s := schedule{policy: RetryPolicy{Attempts: 6, BaseDelay: 100, MaxDelay: 350}}
	longest := func(d time.Duration) time.Duration { return d }
	for i, want := range []time.Duration{100, 200, 350, 350, 350} {
		if got, ok := s.next(tryAgain, 0, longest); got != want || !ok {
			t.Errorf("failure %d: delay %d, %t, want %d", i+1, got, ok, want)
		}
	}
	if _, ok := s.next(tryAgain, 0, longest); ok {
		t.Error("the sixth failure of six attempts is retried")
	}
	s.progress()
	if got, ok := s.next(tryAgain, 0, longest); got != 100 || !ok {
		t.Errorf("after progress: delay %d, %t, want 100", got, ok)
	}
}

// TestScheduleOutlastsAnOutage holds that no luck makes ten attempts end
// within 20 s.
func TestScheduleOutlastsAnOutage(t *testing.T) {
	shortest := func(time.Duration) time.Duration { return 0 }
	s := schedule{policy: RetryPolicy{}.withDefaults()}
	total := time.Duration(0)
	for {
		delay, ok := s.next(tryAgain, 0, shortest)
		if !ok {
			break
		}
		total += delay
	}
	if total < 20*time.Second {
		t.Errorf("the attempts may end within %v", total)
	}
}

func TestScheduleVerdicts(t *testing.T) {
	none := func(time.Duration) time.Duration { return 0 }
	cases := []struct {
		name     string
		verdicts []verdict
		want     int // how many are retried before one is not; -1 all
	}{
		{"permanent", []verdict{giveUp}, 0},
		{"transient then permanent", []verdict{tryAgain, giveUp}, 1},
		{"credentials renewed once", []verdict{refresh, refresh}, 1},
		{"renewed, then transient", []verdict{refresh, tryAgain, tryAgain, refresh}, 3},
		{"wrong ranges", []verdict{suspect, suspect, suspect}, 2},
		{"stalls count as attempts", []verdict{stalled, stalled, stalled, stalled, stalled}, 4},
		{"mixed", []verdict{tryAgain, stalled, suspect, refresh}, -1},
	}
	for _, c := range cases {
		s := schedule{policy: RetryPolicy{Attempts: 5, BaseDelay: 1, MaxDelay: 1}}
		got := -1
		for i, v := range c.verdicts {
			if _, ok := s.next(v, 0, none); !ok {
				got = i
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: gave up at %d, want %d", c.name, got, c.want)
		}
	}
}

func TestScheduleReadTimeout(t *testing.T) {
	none := func(time.Duration) time.Duration { return 0 }
	s := schedule{policy: RetryPolicy{Attempts: 100, BaseDelay: 2, MaxDelay: 40, ReadTimeout: 50}}
	if got := s.patience(1000); got != 50 {
		t.Errorf("at first %d of 50", got)
	}
	s.silent += 30
	if got := s.patience(10); got != 10 {
		t.Errorf("a shorter wait is one of %d, want 10", got)
	}
	if got := s.patience(1000); got != 20 {
		t.Errorf("%d left, want 20", got)
	}
	for _, tt := range []struct {
		verdict    verdict
		retryAfter time.Duration
		want       bool
	}{{tryAgain, 0, true}, {tryAgain, 20, true}, {tryAgain, 21, false}, {stalled, 0, true}} {
		if _, ok := s.next(tt.verdict, tt.retryAfter, none); ok != tt.want {
			t.Errorf("%v with Retry-After %d: %t, want %t", tt.verdict, tt.retryAfter, ok, tt.want)
		}
	}
	s.silent += 20
	for _, v := range []verdict{tryAgain, stalled} {
		if _, ok := s.next(v, 0, none); ok {
			t.Errorf("%v is tried again after the time-out", v)
		}
	}
	if s.progress(); s.patience(1000) != 50 {
		t.Error("progress does not begin anew")
	}
}

func TestScheduleRetryAfter(t *testing.T) {
	none := func(time.Duration) time.Duration { return 0 }
	for asked, want := range map[time.Duration]time.Duration{0: 0, 5: 5, 100: 20} {
		s := schedule{policy: RetryPolicy{Attempts: 3, BaseDelay: 1, MaxDelay: 20}}
		if got, _ := s.next(tryAgain, asked, none); got != want {
			t.Errorf("Retry-After %d: delay %d, want %d", asked, got, want)
		}
	}
}

func TestCeilingDoesNotOverflow(t *testing.T) {
	if got := ceiling(time.Second, 1<<62, 1000); got != 1<<62 {
		t.Errorf("ceiling = %d", got)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Wed, 01 May 2024 12:00:09 GMT": 9 * time.Second,
		"Wed, 01 May 2024 11:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %v, want %v", s, got, want)
		}
	}
}
