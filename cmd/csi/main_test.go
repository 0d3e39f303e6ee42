package main

import "testing"

// The manifest's container of 33 GiB has room for four mounts of 8 GiB.
func TestMountsWithin(t *testing.T) {
	for _, c := range []struct {
		bytes, limit int64
		want         int
	}{{33 << 30, 8 << 30, 4}, {32 << 30, 8 << 30, 3}, {1 << 30, 8 << 30, 1}, {1 << 40, 1 << 30, 910}} {
		if got := mountsWithin(c.bytes, c.limit); got != c.want {
			t.Errorf("%d mounts of %d fit into %d, want %d", got, c.limit, c.bytes, c.want)
		}
	}
}
