package fs

import "testing"

func TestReadSizeClass(t *testing.T) {
	for n, want := range map[int64]int{
		0: 0, 1: 0, 4096: 0, 4097: 1, 8192: 1, 128 << 10: 5, 512<<10 + 1: 8, 1 << 20: 8, 8 << 20: 8,
	} {
		if got := readSizeClass(n); got != want {
			t.Errorf("readSizeClass(%d) = %d, want %d", n, got, want)
		}
		if bound := ReadSizeBound(want); int64(n) > bound && n <= maxRead || want > 0 && int64(n) <= bound/2 {
			t.Errorf("a read of %d bytes is counted as one of up to %d", n, bound)
		}
	}
}
