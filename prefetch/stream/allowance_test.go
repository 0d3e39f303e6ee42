package stream

import "testing"

func TestAllowance(t *testing.T) {
	for _, tc := range []struct {
		name            string
		blocks, streams int64
		ahead           int64
		share           int64
	}{
		{"the smallest arena, one stream", 16, 1, 12, 12 * mib},
		{"no stream yet", 16, 0, 12, 12 * mib},
		{"small, three quarters", 64, 64, 48, 768 << 10},
		{"as much as the line holds", 200, 2, 128, 64 * mib},
		{"the default", 256, 1, 128, 128 * mib},
		{"large, half", 4096, 16, 2048, 128 * mib},
	} {
		a := Allowance{tc.blocks}
		if ahead, share := a.Ahead(), a.Share(tc.streams); ahead != tc.ahead || share != tc.share {
			t.Errorf("%s: %d blocks, %d bytes each; want %d, %d", tc.name, ahead, share, tc.ahead, tc.share)
		}
	}
}
