package retry

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowIsFarBelowTheMedian(t *testing.T) {
	var r rates
	if r.slow(1, time.Hour) {
		t.Error("slow with nothing to compare with")
	}
	for i := range slowSamples {
		r.observe(8<<20, time.Duration(100+i)*time.Millisecond) // about 70 MB/s
	}
	for range 100 {
		r.observe(100, time.Minute) // too small to tell
	}
	for _, tc := range []struct {
		bytes  int64
		waited time.Duration
		want   bool
	}{{1 << 20, time.Second, true}, {16 << 20, time.Second, false}, {0, time.Second, true}, {0, 0, false}} {
		if got := r.slow(tc.bytes, tc.waited); got != tc.want {
			t.Errorf("%d bytes in %v: %v", tc.bytes, tc.waited, got)
		}
	}
	for range slowSamples {
		r.observe(1<<20, time.Second) // now everything is slow
	}
	if r.slow(1<<20, time.Second) {
		t.Error("slow like all others")
	}
}

// A body that comes far more slowly than its peers is replaced at its last byte,
// once it was waited for as long as it may be silent.
func TestSlowBodyIsReplaced(t *testing.T) {
	const chunk, ms = 16 << 10, time.Millisecond
	data := bytes.Repeat([]byte("weights"), 1<<18)
	paced := func(pace time.Duration) behaviour { return behaviour{after: -1, chunk: chunk, pace: pace} }
	bursts := behaviour{after: -1, pace: 150 * ms} // each brings what was asked for
	for name, tc := range map[string]struct {
		peer   behaviour
		size   int           // of a peer's Reads
		pause  time.Duration // before each
		last   behaviour
		again  behaviour       // of what replaces last
		waited []time.Duration // at least, for the last body and each replaced one
	}{
		"one of many":          {paced(ms / 10), chunk, 0, paced(10 * ms), paced(ms / 10), []time.Duration{500 * ms}},
		"like all others":      {paced(10 * ms), chunk, 0, paced(10 * ms), paced(10 * ms), nil},
		"for the second time":  {paced(ms / 10), chunk, 0, paced(100 * ms), paced(100 * ms), []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms}},
		"bytes come in bursts": {bursts, len(data), 0, paced(11 * ms), paced(ms / 10), []time.Duration{stallFactor * 150 * ms}},
		// Who was busy elsewhere finds the bytes of the peers ready, and waits for none.
		"as fast as the peers were read": {paced(0), chunk, 10 * ms, paced(10 * ms), paced(10 * ms), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{data: data, script: func(try int, _ int64) behaviour {
					switch {
					case try < slowSamples:
						return tc.peer
					case try == slowSamples:
						return tc.last
					}
					return tc.again
				}}
				r := New(Policy{}, classifyScripted)
				for range slowSamples {
					readIn(t, r, s, tc.size, tc.pause)
				}
				if got := readIn(t, r, s, chunk, 0); !bytes.Equal(got, data) {
					t.Error("wrong bytes")
				}
				offs := s.offs[slowSamples:]
				if len(offs) != 1+len(tc.waited) {
					t.Fatalf("read by requests from %d, want %d of them", offs, 1+len(tc.waited))
				}
				pace := tc.last.pace
				for i, least := range tc.waited {
					if waited := time.Duration((offs[i+1]-offs[i])/chunk) * pace; waited < least || waited > 2*least {
						t.Errorf("replaced after %v, want %v", waited, least)
					}
					pace = tc.again.pace
				}
			})
		})
	}
}

// readIn reads an object by Reads of at most size bytes, each after a pause.
func readIn(t *testing.T, r *Retrier, s *scripted, size int, pause time.Duration) (got []byte) {
	t.Helper()
	body, err := r.Open(t.Context(), 0, int64(len(s.data)), s.request)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	for buf := make([]byte, size); err == nil; {
		time.Sleep(pause)
		var n int
		n, err = body.Read(buf)
		got = append(got, buf[:n]...)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	return got
}

// With a least rate, a body is judged by that and not by its peers, and silence by
// a fixed time.
func TestMinRate(t *testing.T) {
	const chunk, ms = 16 << 10, time.Millisecond
	data := bytes.Repeat([]byte("weights"), 1<<18)
	for name, tc := range map[string]struct {
		first    behaviour
		requests int
		least    time.Duration
	}{
		"far slower than the others, and fast enough": {behaviour{after: -1, chunk: chunk, pace: 40 * ms}, 1, 4 * time.Second},
		"slow":   {behaviour{after: -1, chunk: chunk, pace: 100 * ms}, 2, 10 * time.Second},
		"silent": {behaviour{}, 2, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{data: data, script: func(try int, _ int64) behaviour {
					if try == slowSamples {
						return tc.first
					}
					return behaviour{after: -1, chunk: chunk}
				}}
				r := New(Policy{StallTimeout: 10 * time.Second, MinRate: 256 << 10}, classifyScripted)
				for range slowSamples {
					readIn(t, r, s, chunk, 0)
				}
				began := time.Now()
				if got := readIn(t, r, s, chunk, 0); !bytes.Equal(got, data) {
					t.Error("wrong bytes")
				}
				took := time.Since(began)
				if n := len(s.offs) - slowSamples; n != tc.requests || took < tc.least || took > tc.least+2*time.Second {
					t.Errorf("%d requests in %v, want %d in %v", n, took, tc.requests, tc.least)
				}
			})
		})
	}
}
