package retry

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestScheduleDelays(t *testing.T) {
	s := schedule{policy: Policy{Attempts: 6, BaseDelay: 100, MaxDelay: 350}}
	longest := func(d time.Duration) time.Duration { return d }
	for i, want := range []time.Duration{100, 200, 350, 350, 350} {
		if got, ok := s.next(Failure{Kind: Transient}, longest); got != want || !ok {
			t.Errorf("failure %d: delay %d, %t, want %d", i+1, got, ok, want)
		}
	}
	if _, ok := s.next(Failure{Kind: Transient}, longest); ok {
		t.Error("the sixth failure of six attempts is retried")
	}
	s.progress()
	if got, ok := s.next(Failure{Kind: Transient}, longest); got != 100 || !ok {
		t.Errorf("after progress: delay %d, %t, want 100", got, ok)
	}
}

// TestScheduleOutlastsAnOutage holds that no luck makes ten attempts end
// within 20 s.
func TestScheduleOutlastsAnOutage(t *testing.T) {
	shortest := func(time.Duration) time.Duration { return 0 }
	s := schedule{policy: Policy{}.withDefaults()}
	total := time.Duration(0)
	for {
		delay, ok := s.next(Failure{Kind: Transient}, shortest)
		if !ok {
			break
		}
		total += delay
	}
	if total < 20*time.Second {
		t.Errorf("the attempts may end within %v", total)
	}
}

func TestScheduleKinds(t *testing.T) {
	none := func(time.Duration) time.Duration { return 0 }
	cases := []struct {
		name  string
		kinds []Kind
		want  int // how many are retried before one is not; -1 all
	}{
		{"permanent", []Kind{Final}, 0},
		{"transient then permanent", []Kind{Transient, Final}, 1},
		{"credentials renewed once", []Kind{Expired, Expired}, 1},
		{"renewed, then transient", []Kind{Expired, Transient, Transient, Expired}, 3},
		{"wrong ranges", []Kind{Doubtful, Doubtful, Doubtful}, 2},
		{"stalls count as attempts", []Kind{stalled, stalled, stalled, stalled, stalled}, 4},
		{"mixed", []Kind{Transient, stalled, Doubtful, Expired}, -1},
	}
	for _, c := range cases {
		s := schedule{policy: Policy{Attempts: 5, BaseDelay: 1, MaxDelay: 1}}
		got := -1
		for i, v := range c.kinds {
			if _, ok := s.next(Failure{Kind: v}, none); !ok {
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
	s := schedule{policy: Policy{Attempts: 100, BaseDelay: 2, MaxDelay: 40, ReadTimeout: 50}}
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
		kind       Kind
		retryAfter time.Duration
		want       bool
	}{{Transient, 0, true}, {Transient, 20, true}, {Transient, 21, false}, {stalled, 0, true}} {
		if _, ok := s.next(Failure{Kind: tt.kind, After: tt.retryAfter}, none); ok != tt.want {
			t.Errorf("%v with Retry-After %d: %t, want %t", tt.kind, tt.retryAfter, ok, tt.want)
		}
	}
	s.silent += 20
	for _, v := range []Kind{Transient, stalled} {
		if _, ok := s.next(Failure{Kind: v}, none); ok {
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
		s := schedule{policy: Policy{Attempts: 3, BaseDelay: 1, MaxDelay: 20}}
		if got, _ := s.next(Failure{Kind: Transient, After: asked}, none); got != want {
			t.Errorf("Retry-After %d: delay %d, want %d", asked, got, want)
		}
	}
}

func TestCeilingDoesNotOverflow(t *testing.T) {
	if got := ceiling(time.Second, 1<<62, 1000); got != 1<<62 {
		t.Errorf("ceiling = %d", got)
	}
}

// TestClassify holds what is said of the errors that any store may have.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), Transient},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Transient},
		{&net.OpError{Op: "dial", Err: context.Canceled}, Final},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, Final},
		{fs.ErrNotExist, Final},
		{fs.ErrInvalid, Final},
	} {
		if got := Classify(c.err); got.Kind != c.want {
			t.Errorf("Classify(%v) = %+v, want %d", c.err, got, c.want)
		}
	}
}
