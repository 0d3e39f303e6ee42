package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a store of one object whose requests go as a script says.
type scripted struct {
	data   []byte
	script func(try int, off int64) behaviour
	tries  int
	open   atomic.Int64 // bodies not yet closed
	most   int64        // highest value of open
	offs   []int64      // where each request began
}

// behaviour is what one request does.
type behaviour struct {
	fail   error         // instead of a body
	after  int           // bytes delivered before the end; -1 all
	end    error         // how the body ends then; nil: silence
	chunk  int           // most bytes of one Read; 0 any
	answer time.Duration // time to the first byte
	pace   time.Duration // of each Read
}

func (s *scripted) request(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	b := s.script(s.tries, off)
	s.tries++
	s.offs = append(s.offs, off)
	select {
	case <-time.After(b.answer):
	case <-ctx.Done():
		return nil, fmt.Errorf("GET test://file [%d,%d): %w", off, off+n, ctx.Err())
	}
	if b.fail != nil {
		return nil, b.fail
	}
	s.most = max(s.most, s.open.Add(1))
	data := s.data[off : off+n]
	if b.after >= 0 {
		data = data[:min(b.after, len(data))]
	}
	return &scriptedBody{ctx: ctx, data: data, behaviour: b, whole: b.after < 0, close: func() { s.open.Add(-1) }}, nil
}

type scriptedBody struct {
	behaviour
	ctx   context.Context
	data  []byte
	whole bool
	close func()
}

func (b *scriptedBody) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		switch {
		case b.whole:
			return 0, io.EOF
		case b.end != nil:
			return 0, b.end
		}
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	if b.chunk > 0 {
		p = p[:min(len(p), b.chunk)]
	}
	time.Sleep(b.pace)
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func (b *scriptedBody) Close() error { b.close(); return nil }

// overload is the answer of a store that wants to be left alone.
type overload struct{ after time.Duration }

func (overload) Error() string { return "overloaded" }

func classifyScripted(err error) Failure {
	if o, ok := errors.AsType[overload](err); ok {
		return Failure{Kind: Transient, After: o.after, Answered: true}
	}
	return Classify(err)
}

func whole(int, int64) behaviour { return behaviour{after: -1} }

// load reads the whole object through a Retrying.
func load(t *testing.T, s *scripted, policy Policy) ([]byte, *Retrier, error) {
	t.Helper()
	r := New(policy, classifyScripted)
	body, err := r.Open(t.Context(), 0, int64(len(s.data)), s.request)
	if err != nil {
		return nil, r, err
	}
	got, err := io.ReadAll(body)
	if cerr := body.Close(); cerr != nil {
		t.Errorf("Close: %v", cerr)
	}
	if n := s.open.Load(); n != 0 {
		t.Errorf("%d bodies left open", n)
	}
	if s.most > 1 {
		t.Errorf("%d bodies open at once", s.most)
	}
	return got, r, err
}

func TestStalledBodyIsReplacedAtItsLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{data: []byte("0123456789"), script: func(try int, _ int64) behaviour {
			return [...]behaviour{{after: 4}, {after: 3}, {after: -1}}[try]
		}}
		start := time.Now()
		got, r, err := load(t, s, Policy{StallTimeout: time.Second})
		if err != nil || string(got) != "0123456789" {
			t.Errorf("read %q, %v", got, err)
		}
		if fmt.Sprint(s.offs) != "[0 4 7]" {
			t.Errorf("requests began at %v", s.offs)
		}
		if st := r.Stats(); st.Stalls != 2 || st.Retries != 2 || st.Gets != 3 || st.Bytes != 10 {
			t.Errorf("Stats = %+v", st)
		}
		// The first silence lasts the floor; having lasted, it raises what counts as one.
		if took := time.Since(start); took < 2*time.Second || took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestStallsAreNoMeasure holds that many stalls do not make the store patient.
func TestStallsAreNoMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const loads, timeout = 100, 100 * time.Millisecond
		s := &scripted{data: []byte("content"), script: func(try int, _ int64) behaviour {
			return [...]behaviour{{after: 3}, {after: -1}}[try%2]
		}}
		r := New(Policy{StallTimeout: timeout, BaseDelay: 1}, classifyScripted)
		start := time.Now()
		for range loads {
			readIn(t, r, s, 7, 0)
		}
		if st, took := r.Stats(), time.Since(start); st.Stalls != loads || took > loads*2*timeout {
			t.Errorf("%d stalls took %v, at a time-out of %v", st.Stalls, took, timeout)
		}
	})
}

// TestTenAttemptsWithoutAByte holds how often a store is asked that fails for
// ever, and that each byte which comes begins the count anew.
func TestTenAttemptsWithoutAByte(t *testing.T) {
	const attempts = 10
	failing := behaviour{fail: overload{}}
	reset := behaviour{fail: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}
	for name, tc := range map[string]struct {
		script func(try int, off int64) behaviour
		tries  int
		last   int64 // where the last request began
	}{
		"it fails":             {func(int, int64) behaviour { return failing }, attempts, 0},
		"it resets":            {func(int, int64) behaviour { return reset }, attempts, 0},
		"its bodies end early": {func(int, int64) behaviour { return behaviour{end: io.EOF} }, attempts, 0},
		"bytes come with each ninth attempt": {func(try int, off int64) behaviour {
			if try%9 == 8 && off < 5 {
				return behaviour{after: 1, end: io.EOF}
			}
			return failing
		}, 5*9 + attempts - 1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{data: []byte("content"), script: tc.script}
				start := time.Now()
				got, _, err := load(t, s, Policy{})
				if err == nil || len(got) != int(tc.last) || s.tries != tc.tries || s.offs[len(s.offs)-1] != tc.last {
					t.Errorf("read %q by requests from %d, %v; want %d requests", got, s.offs, err, tc.tries)
				}
				if took := time.Since(start); tc.tries == attempts && (took < 20*time.Second || took > 2*time.Minute) {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestSlowReaderIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{data: bytes.Repeat([]byte("x"), 100), script: whole}
		r := New(Policy{StallTimeout: time.Second}, classifyScripted)
		body, err := r.Open(t.Context(), 0, 100, s.request)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		for range 10 {
			if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour) // of the bubble's clock
		}
		if got := r.Stats().Stalls; got != 0 {
			t.Errorf("%d stalls", got)
		}
	})
}

func TestSilentAnswerIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{data: []byte("content"), script: func(try int, _ int64) behaviour {
			return [...]behaviour{{after: -1, answer: time.Hour}, {after: -1}}[try]
		}}
		got, r, err := load(t, s, Policy{StallTimeout: time.Second})
		if err != nil || string(got) != "content" || r.Stats().Stalls != 1 {
			t.Errorf("read %q, %v, %+v", got, err, r.Stats())
		}
	})
}

// TestSlowStoreAnswersInTheEnd has a store that needs longer for its first byte
// than the floor: patience must grow until it is met.
func TestSlowStoreAnswersInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{data: []byte("content"), script: func(int, int64) behaviour {
			return behaviour{after: -1, answer: 15 * time.Second}
		}}
		got, r, err := load(t, s, Policy{StallTimeout: time.Second})
		if err != nil || string(got) != "content" {
			t.Errorf("read %q, %v", got, err)
		}
		if st := r.Stats(); st.Stalls == 0 || st.Stalls > 4 {
			t.Errorf("Stats = %+v", st)
		}
	})
}

func TestDeadStoreIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{data: []byte("content"), script: func(int, int64) behaviour { return behaviour{answer: time.Hour} }}
		_, _, err := load(t, s, Policy{Attempts: 3})
		if !errors.Is(err, ErrStalled) || errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want a stall that is not the reader's cancelling", err)
		}
		if s.tries != 3 || !strings.Contains(fmt.Sprint(err), "3 attempts") || !strings.Contains(fmt.Sprint(err), "test://file [0,7)") {
			t.Errorf("%d tries, %v", s.tries, err)
		}
	})
}

func TestCancelEndsWaits(t *testing.T) {
	waits := map[string]behaviour{
		"for an answer": {answer: time.Hour},
		"for a byte":    {after: 3},
		"to try again":  {fail: overload{time.Hour}},
	}
	for name, b := range waits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{data: []byte("content"), script: func(int, int64) behaviour { return b }}
				r := New(Policy{StallTimeout: time.Minute, MaxDelay: time.Hour}, classifyScripted)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				body, err := r.Open(ctx, 0, 7, s.request)
				if err == nil {
					_, err = io.ReadAll(body)
					body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error = %v", err)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestReadAfterClose(t *testing.T) {
	s := &scripted{data: []byte("content"), script: whole}
	r := New(Policy{}, classifyScripted)
	body, err := r.Open(t.Context(), 0, 7, s.request)
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	if _, err := body.Read(make([]byte, 7)); !errors.Is(err, errClosed) {
		t.Errorf("Read after Close = %v", err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if s.tries != 1 {
		t.Errorf("%d requests", s.tries)
	}
}

// TestRandomFaults compares what comes through random faults with the data.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			data := make([]byte, 1+rng.IntN(5000))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			s := &scripted{data: data, script: func(int, int64) behaviour { return randomBehaviour(rng) }}
			got, r, err := load(t, s, Policy{Attempts: 50})
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("seed %d: %d of %d bytes, %v", seed, len(got), len(data), err)
			}
			if st := r.Stats(); st.Bytes != int64(len(data)) || st.Gets != int64(s.tries) || st.Retries != st.Gets-1 {
				t.Errorf("seed %d: %+v for %d bytes in %d tries", seed, st, len(data), s.tries)
			}
		})
	}
}

func randomBehaviour(rng *rand.Rand) behaviour {
	b := behaviour{after: rng.IntN(3000), chunk: 1 + rng.IntN(700), answer: time.Duration(rng.IntN(1000)) * time.Millisecond}
	switch rng.IntN(6) {
	case 0:
		b.fail = overload{time.Second}
	case 1:
		b.fail = &net.OpError{Op: "read", Err: errors.New("connection reset")}
	case 2:
		b.end = io.EOF // too early
	case 3:
		b.end = io.ErrUnexpectedEOF
	case 4:
		b.end = nil // silence
	case 5:
		b.after = -1
	}
	return b
}

// TestOutageIsNoStorm has many requests meet an outage together and holds
// their retries against the pace.
func TestOutageIsNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var requests atomic.Int64
		r := New(Policy{}, classifyScripted)
		const readers = 256
		done := make(chan struct{})
		for range readers {
			go func() {
				if err := r.Do(t.Context(), Stat, func(context.Context) error { requests.Add(1); return overload{} }); err == nil {
					t.Error("no error from an outage")
				}
				done <- struct{}{}
			}()
		}
		for range readers {
			<-done
		}
		if got := requests.Load(); got != readers*10 {
			t.Errorf("%d requests", got)
		}
		if least := interval * readers * 9; time.Since(start) < least-time.Second {
			t.Errorf("%d retries within %v", readers*9, time.Since(start))
		}
	})
}
