package stream

import "testing"

// TestNextPart holds what a window is filled with, and that nothing is asked for
// where everything is fetched.
func TestNextPart(t *testing.T) {
	const size, part = 1000 * mib, 8 * mib
	for _, tc := range []struct {
		name   string
		s      Stream
		lo, hi int64 // 0, 0: nothing
	}{
		{"the first part", Stream{Pos: 4 * mib, Window: 32 * mib, ahead: 4 * mib}, 4 * mib, 8 * mib},
		{"a whole part", Stream{Pos: 4 * mib, Window: 32 * mib, ahead: 16 * mib}, 16 * mib, 24 * mib},
		{"not yet a whole part", Stream{Pos: 4 * mib, Window: 32 * mib, ahead: 32 * mib}, 0, 0},
		{"less, where the reader has nothing before it", Stream{Pos: 4 * mib, Window: 2 * mib}, 4 * mib, 6 * mib},
		{"the window is full", Stream{Pos: 4 * mib, Window: 28 * mib, ahead: 32 * mib}, 0, 0},
		{"the rest of the object", Stream{Pos: 980 * mib, Window: 32 * mib, ahead: 996 * mib}, 996 * mib, 1000 * mib},
		{"the end of the run that is expected", Stream{Pos: 4 * mib, Window: 90 * mib, ahead: 16 * mib, expected: 20 * mib}, 16 * mib, 20 * mib},
		{"downwards", Stream{start: 64 * mib, Pos: 70 * mib, Window: 16 * mib, below: 60 * mib, descents: 2}, 56 * mib, 60 * mib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ss := Streams{census: new(Census), list: []*Stream{&tc.s}}
			if room := ss.Ask(&tc.s, size, 0, part, known(false)); room != (tc.hi > 0) {
				t.Errorf("has room: %v", room)
			}
			tc.s.Ready = true
			got, ok := ss.Next(size, 0, func(*Stream) int64 { return part }, known(false))
			if ok != (tc.hi > 0) || got.Lo != tc.lo || got.Hi != tc.hi || tc.s.Ready != ok {
				t.Errorf("[%d,%d) MiB %v, want [%d,%d)", got.Lo/mib, got.Hi/mib, ok, tc.lo/mib, tc.hi/mib)
			}
			tc.s.Ready = false
			if ss.Ask(&tc.s, size, 0, part, known(true)) && !tc.s.descends() {
				t.Error("asks for what is fetched")
			}
		})
	}
}

// The stream whose reader has least before it comes first.
func TestNextPartIsTheNearest(t *testing.T) {
	near := &Stream{Pos: 100 * mib, start: 99 * mib, Window: 32 * mib, ahead: 104 * mib, Ready: true}
	far := &Stream{Pos: 4 * mib, Window: 64 * mib, ahead: 40 * mib, Ready: true}
	ss := Streams{census: new(Census), list: []*Stream{far, near}}
	if d := ss.Distance(); d != 4*mib {
		t.Errorf("distance %d MiB", d/mib)
	}
	got, _ := ss.Next(1000*mib, 0, func(*Stream) int64 { return 8 * mib }, known(false))
	if got.Stream != near || got.Lo != 104*mib {
		t.Errorf("%+v", got)
	}
}
