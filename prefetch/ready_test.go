package prefetch

import "testing"

func TestUntouched(t *testing.T) {
	type span struct{ lo, hi int32 }
	for _, tt := range []struct {
		name string
		arena
		want []span
	}{
		{"a quarter of a small arena", arena{slots: 100}, []span{{0, 16}, {16, 25}, {25, 25}}},
		{"from where it is used", arena{slots: 400, fresh: 7}, []span{{7, 23}, {23, 39}}},
		{"what is used before it was touched", arena{slots: 40, fresh: 20, touched: 8}, []span{{20, 30}, {30, 30}}},
		{"to the end", arena{slots: 40, fresh: 38, touched: 38}, []span{{38, 40}, {40, 40}}},
		{"all used", arena{slots: 40, fresh: 40, touched: 40}, []span{{40, 40}}},
		{"no more than readyBytes", arena{slots: 1 << 20, touched: 1020}, []span{{1020, 1024}, {1024, 1024}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, want := range tt.want {
				if lo, hi := tt.untouched(); lo != want.lo || hi != want.hi {
					t.Fatalf("untouched() = [%d,%d), want [%d,%d)", lo, hi, want.lo, want.hi)
				}
			}
		})
	}
}
