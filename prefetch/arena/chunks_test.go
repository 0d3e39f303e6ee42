package arena

import (
	"testing"

	"pgregory.net/rapid"
)

// Every chunk set operation agrees with a plain array of 64 booleans.
func TestChunksAgreeWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Int64Range(0, BlockSize).Draw(t, "lo")
		hi := rapid.Int64Range(0, BlockSize).Draw(t, "hi")
		s := chunksTouching(lo, hi)
		n := 0
		for i := range int64(64) {
			touched := lo < hi && i*ChunkSize < hi && lo < (i+1)*ChunkSize
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
		if n == 0 && first != 64 || n > 0 && (end-first != int64(n) || first != lo/ChunkSize) {
			t.Fatalf("firstRun of [%d,%d): [%d,%d)", lo, hi, first, end)
		}
		if n > 0 {
			if a, b := s.lastRun(); a != first || b != end {
				t.Fatalf("lastRun of [%d,%d): [%d,%d)", lo, hi, a, b)
			}
		}
	})
}

func TestLastRunStopsAtAHole(t *testing.T) {
	for _, tc := range []struct {
		set        chunks
		first, end int64
	}{
		{0, 0, 0}, {1, 0, 1}, {0b1100110, 5, 7}, {^chunks(0), 0, 64}, {1 << 63, 63, 64}, {^chunks(0) &^ (1 << 63), 0, 63},
	} {
		if first, end := tc.set.lastRun(); first != tc.first || end != tc.end {
			t.Errorf("%b: [%d,%d), want [%d,%d)", tc.set, first, end, tc.first, tc.end)
		}
	}
}

// The gaps found from below and from above are those of a plain array.
func TestGapsAgreeWithAModel(t *testing.T) {
	const blocks = 4
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(16 * BlockSize)
		if err != nil {
			t.Fatal(err)
		}
		size := rapid.Int64Range(1, blocks*BlockSize).Draw(t, "size")
		n := a.Add(owner{}, size, 1)
		missing := make([]bool, (size+ChunkSize-1)/ChunkSize)
		for i := range missing {
			missing[i] = true
		}
		for range rapid.IntRange(0, 8).Draw(t, "claims") {
			lo := rapid.Int64Range(0, (size-1)/ChunkSize).Draw(t, "from") * ChunkSize
			lo, hi, ok := a.Gap(n, lo, lo+rapid.Int64Range(1, BlockSize).Draw(t, "length"))
			if !ok {
				continue
			}
			c, _ := a.Claim(n, lo, hi, 16)
			if rapid.Bool().Draw(t, "landed") {
				a.Land(c, lo, hi)
			}
			for i := lo / ChunkSize; i*ChunkSize < hi; i++ {
				missing[i] = false
			}
		}
		lo := rapid.Int64Range(0, size).Draw(t, "lo")
		hi := rapid.Int64Range(lo, size).Draw(t, "hi")
		first, last := lo/ChunkSize, (hi+ChunkSize-1)/ChunkSize
		if lo == hi {
			last = first
		}
		from, end := runFrom(missing, first, last)
		if gapLo, gapHi, ok := a.Gap(n, lo, hi); ok != (from < end) || ok && (gapLo != from*ChunkSize || gapHi != min(end*ChunkSize, size)) {
			t.Fatalf("gap in [%d,%d): [%d,%d) %v, want chunks [%d,%d)", lo, hi, gapLo, gapHi, ok, from, end)
		}
		from, end = runBelow(missing, first, last)
		if gapLo, gapHi, ok := a.GapBelow(n, lo, hi); ok != (from < end) || ok && (gapLo != from*ChunkSize || gapHi != min(end*ChunkSize, size)) {
			t.Fatalf("gap below in [%d,%d): [%d,%d) %v, want chunks [%d,%d)", lo, hi, gapLo, gapHi, ok, from, end)
		}
	})
}

// runFrom is the first run of missing chunks in [first, last).
func runFrom(missing []bool, first, last int64) (from, end int64) {
	from = first
	for from < last && !missing[from] {
		from++
	}
	end = from
	for end < last && missing[end] {
		end++
	}
	return from, end
}

// runBelow is the last one.
func runBelow(missing []bool, first, last int64) (from, end int64) {
	end = last
	for end > first && !missing[end-1] {
		end--
	}
	from = end
	for from > first && missing[from-1] {
		from--
	}
	return from, end
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
