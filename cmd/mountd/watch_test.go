package main

import "testing"

func TestInPlace(t *testing.T) {
	for _, c := range []struct {
		text   string
		height int
		first  bool
		want   string
	}{
		{"a\nb\n", 10, true, "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"},
		{"a\nb\n", 10, false, "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"},
		{"a\nb\nc\n", 3, false, "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"}, // the last line stays free
		{"a\nb\n", 1, false, "\x1b[Ha\x1b[K\n\x1b[J"},
	} {
		if got := inPlace(c.text, c.height, c.first); got != c.want {
			t.Errorf("%q on %d lines: %q, want %q", c.text, c.height, got, c.want)
		}
	}
}
