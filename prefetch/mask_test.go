package prefetch

import (
	"testing"

	"pgregory.net/rapid"
)

// Every chunk set operation agrees with a plain array of 64 booleans.
func TestChunksAgreeWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Int64Range(0, blockSize).Draw(t, "lo")
		hi := rapid.Int64Range(0, blockSize).Draw(t, "hi")
		s := chunksTouching(lo, hi)
		n := 0
		for i := range int64(64) {
			touched := lo < hi && i*chunkSize < hi && lo < (i+1)*chunkSize
			if got := s.has(1 << i); got != touched {
				t.Fatalf("chunk %d of [%d,%d): %v", i, lo, hi, got)
			}
			if touched {
				n++
			}
		}
		if s.count() != n {
			t.Fatalf("count %d, want %d", s.count(), n)
		}
		first, end := s.firstRun()
		if n == 0 && first != 64 || n > 0 && (end-first != int64(n) || first != lo/chunkSize) {
			t.Fatalf("firstRun of [%d,%d): [%d,%d)", lo, hi, first, end)
		}
	})
}

func TestFirstRunStopsAtAHole(t *testing.T) {
	for _, tc := range []struct {
		set        chunks
		first, end int64
	}{
		{0, 64, 64}, {1, 0, 1}, {0b1100110, 1, 3}, {^chunks(0), 0, 64}, {1 << 63, 63, 64}, {^chunks(0) &^ 1, 1, 64},
	} {
		if first, end := tc.set.firstRun(); first != tc.first || end != tc.end {
			t.Errorf("%b: [%d,%d), want [%d,%d)", tc.set, first, end, tc.first, tc.end)
		}
	}
}
