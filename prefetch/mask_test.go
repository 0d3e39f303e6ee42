package prefetch

import (
	"testing"

	"pgregory.net/rapid"

	"weightfs/remote"
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
	rapid.Check(t, func(t *rapid.T) {
		f, missing := drawFile(t)
		size := f.obj.Size
		lo := rapid.Int64Range(0, size).Draw(t, "lo")
		hi := rapid.Int64Range(lo, size).Draw(t, "hi")
		first, last := lo/chunkSize, (hi+chunkSize-1)/chunkSize
		if lo == hi {
			last = first
		}
		a, b := runFrom(missing, first, last)
		if gapLo, gapHi, ok := f.gap(lo, hi); ok != (a < b) || ok && (gapLo != a*chunkSize || gapHi != min(b*chunkSize, size)) {
			t.Fatalf("gap in [%d,%d): [%d,%d) %v, want chunks [%d,%d)", lo, hi, gapLo, gapHi, ok, a, b)
		}
		a, b = runBelow(missing, first, last)
		if gapLo, gapHi, ok := f.gapBelow(lo, hi); ok != (a < b) || ok && (gapLo != a*chunkSize || gapHi != min(b*chunkSize, size)) {
			t.Fatalf("gap below in [%d,%d): [%d,%d) %v, want chunks [%d,%d)", lo, hi, gapLo, gapHi, ok, a, b)
		}
	})
}

// drawFile draws a file of up to four blocks, and says which of its chunks are
// neither there nor claimed.
func drawFile(t *rapid.T) (f *file, missing []bool) {
	const blocks = 4
	size := rapid.Int64Range(1, blocks*blockSize).Draw(t, "size")
	f = &file{obj: remote.Object{Size: size}, blocks: make(map[int64]*block)}
	for index := range int64(blocks) {
		b := &block{
			have:    chunks(rapid.Uint64().Draw(t, "have") & rapid.Uint64().Draw(t, "have too")),
			claimed: chunksBetween(rapid.Int64Range(0, 64).Draw(t, "from"), rapid.Int64Range(0, 64).Draw(t, "to")),
		}
		if rapid.Bool().Draw(t, "there") {
			f.blocks[index] = b
		} else {
			b = &block{}
		}
		for i := range int64(64) {
			missing = append(missing, !(b.have | b.claimed).has(1<<i))
		}
	}
	return f, missing
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
