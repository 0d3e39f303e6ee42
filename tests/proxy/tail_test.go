package proxy

import (
	"slices"
	"testing"
	"time"
)

func TestTailHasItsQuantiles(t *testing.T) {
	draw := func(s Shape, n int64) (all []time.Duration) {
		for i := range n {
			all = append(all, s.firstByte(i+1))
		}
		return all
	}
	s := S3LikeTail()
	all := draw(s, 20000)
	if !slices.Equal(all, draw(s, 20000)) {
		t.Error("the same seed draws different times")
	}
	slices.Sort(all)
	for _, c := range []struct {
		at, least, most time.Duration // of 20,000 sorted times
	}{
		{10000, 29 * time.Millisecond, 31 * time.Millisecond},
		{19800, 270 * time.Millisecond, 330 * time.Millisecond},
	} {
		if got := all[c.at]; got < c.least || got > c.most {
			t.Errorf("number %d of 20,000 is %v, want %v to %v", c.at, got, c.least, c.most)
		}
	}
	if got := S3Like().firstByte(7); got != 30*time.Millisecond {
		t.Errorf("%v without a tail", got)
	}
}

func TestOneConnectionInFiftyIsSlow(t *testing.T) {
	s, slow := S3LikeTail(), 0
	for i := range int64(1000) {
		switch s.perConnection(i + 1) {
		case s.PerConnection / 10:
			slow++
		case s.PerConnection:
		default:
			t.Errorf("connection %d has %d bytes/s", i+1, s.perConnection(i+1))
		}
	}
	if slow != 20 || s.perConnection(2) == s.PerConnection {
		t.Errorf("%d of 1,000 are slow, the second at %d bytes/s", slow, s.perConnection(2))
	}
}

// What a store with a tail does begins anew when the counters are reset.
func TestTailBeginsAnewAtAReset(t *testing.T) {
	var l ledger
	for round := range int64(2) {
		for i := range int64(3) {
			if number, ordinal := l.begin("GET"); number != 3*round+i+1 || ordinal != i+1 {
				t.Errorf("request %d after %d resets has the numbers %d and %d", i, round, number, ordinal)
			}
		}
		l.reset()
	}
}
