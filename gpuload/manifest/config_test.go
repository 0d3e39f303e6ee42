package manifest

import "testing"

func TestBuffers(t *testing.T) {
	for _, c := range []struct {
		limit       int64
		processors  int
		count, size int
	}{
		{0, 8, 8, copyBytes},
		{-1, 8, 8, copyBytes},
		{-2, 8, 8, smallCopy},
		{40e9, 8, 8, copyBytes},
		{8 << 20, 8, 8, 512 << 10},
		{4 << 20, 8, 8, smallCopy},
		{2 << 20, 192, 4, smallCopy},
		{768 << 10, 8, 1, smallCopy},
		{8 << 10, 8, 1, 4096},
		{1, 8, 1, 1},
	} {
		cfg := Config{MemoryLimit: c.limit}
		if count, size := cfg.buffers(c.processors); count != c.count || size != c.size {
			t.Errorf("%d bytes, %d processors: %d of %d, want %d of %d", c.limit, c.processors, count, size, c.count, c.size)
		}
	}
}
