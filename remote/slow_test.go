package remote

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

// One body at a hundredth of the others' speed is replaced at its last byte;
// all bodies at that speed are read to their end.
func TestSlowBodyIsReplaced(t *testing.T) {
	data := bytes.Repeat([]byte("weights"), 1<<18)
	run := func(t *testing.T, slow func(try int) bool) *scripted {
		s := &scripted{data: data}
		s.script = func(try int, _ int64) behaviour {
			pace := 100 * time.Microsecond // for 16 KiB
			if slow(try) {
				pace *= 100
			}
			return behaviour{after: -1, chunk: 16 << 10, pace: pace}
		}
		r := WithRetry(s, RetryPolicy{})
		obj := Object{Key: "file", Size: int64(len(data))}
		for range slowSamples + 1 {
			if got := readThrough(t, r, obj); !bytes.Equal(got, data) {
				t.Fatal("wrong bytes")
			}
		}
		return s
	}
	synctest.Test(t, func(t *testing.T) {
		s := run(t, func(try int) bool { return try == slowSamples })
		if s.tries != slowSamples+2 {
			t.Errorf("%d requests for %d bodies of which one is slow", s.tries, slowSamples+1)
		}
		if last := s.offs[len(s.offs)-1]; last == 0 {
			t.Error("the slow body was not resumed but begun anew")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if s := run(t, func(int) bool { return true }); s.tries != slowSamples+1 {
			t.Errorf("%d requests for %d bodies that are all slow", s.tries, slowSamples+1)
		}
	})
}

// Bodies whose bytes lay ready, as they do for one who was busy elsewhere, make
// none slow that comes as fast as those were read.
func TestReadyBytesMakeNoneSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const chunk, pause = 16 << 10, 10 * time.Millisecond
		s := &scripted{data: bytes.Repeat([]byte("weights"), 1<<18)}
		s.script = func(try int, _ int64) behaviour {
			b := behaviour{after: -1, chunk: chunk}
			if try == slowSamples {
				b.pace = pause
			}
			return b
		}
		r := WithRetry(s, RetryPolicy{})
		obj := Object{Key: "file", Size: int64(len(s.data))}
		for range slowSamples {
			readIn(t, r, obj, chunk, pause)
		}
		if got := readThrough(t, r, obj); !bytes.Equal(got, s.data) {
			t.Error("wrong bytes")
		}
		if s.tries != slowSamples+1 {
			t.Errorf("%d requests for %d bodies", s.tries, slowSamples+1)
		}
	})
}

// Where bytes come in bursts, a body is given the time of a few of them before
// it is called slow.
func TestSlowAfterItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const chunk, pace = 16 << 10, 11 * time.Millisecond
		s := &scripted{data: bytes.Repeat([]byte("weights"), 1<<18)}
		s.script = func(try int, _ int64) behaviour {
			if try == slowSamples {
				return behaviour{after: -1, chunk: chunk, pace: pace}
			}
			return behaviour{after: -1, chunk: len(s.data), pace: 150 * time.Millisecond}
		}
		r := WithRetry(s, RetryPolicy{})
		obj := Object{Key: "file", Size: int64(len(s.data))}
		for range slowSamples + 1 {
			readIn(t, r, obj, len(s.data), 0)
		}
		if s.tries != slowSamples+2 {
			t.Fatalf("%d requests for %d bodies of which one is slow", s.tries, slowSamples+1)
		}
		waited := time.Duration(s.offs[len(s.offs)-1]/chunk) * pace
		if least := stallFactor * 150 * time.Millisecond; waited < least {
			t.Errorf("replaced after %v, where it may be silent for %v", waited, least)
		}
	})
}

// readIn reads an object by Reads of size bytes, each after a pause.
func readIn(t *testing.T, r *Retrying, obj Object, size int, pause time.Duration) {
	t.Helper()
	body, err := r.OpenRange(t.Context(), obj, 0, obj.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	for buf := make([]byte, size); err == nil; {
		time.Sleep(pause)
		_, err = body.Read(buf)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
}
