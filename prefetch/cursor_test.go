package prefetch

import (
	"testing"

	"weightfs/remote"
)

// reads replays reads of n bytes at the offsets and returns the last cursor.
func replay(cs *cursors, n int64, offsets ...int64) *cursor {
	var c *cursor
	p := windowPolicy{part: 8 * mib}
	for i, off := range offsets {
		c, _ = cs.match(off, off+n, uint64(i), func(int64, int64) bool { return true })
		c.window = p.next(c, true, 1<<40, remote.Connections{})
	}
	return c
}

func TestStreamsAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		n       int64
		offsets []int64
		streams int // with a window
		cursors int
	}{
		{"one read", 4096, []int64{0}, 0, 1},
		{"sequential", 128 << 10, []int64{0, 128 << 10, 256 << 10, 384 << 10}, 1, 1},
		{"reordered by the kernel", mib, []int64{0, 3 * mib, mib, 2 * mib, 5 * mib, 4 * mib}, 1, 1},
		{"two interleaved", mib, []int64{0, 100 * mib, mib, 101 * mib, 2 * mib, 102 * mib}, 2, 2},
		{"random", 128 << 10, []int64{10 * mib, 50 * mib, 20 * mib, 90 * mib, 21 * mib, 93 * mib}, 0, 6},
		{"small reads that fall near each other by chance", 16 << 10, []int64{10 * mib, 12 * mib, 11 * mib, 9 * mib}, 0, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var cs cursors
			replay(&cs, tc.n, tc.offsets...)
			if got := cs.live(0); got != tc.streams {
				t.Errorf("%d streams, want %d", got, tc.streams)
			}
			if len(cs.list) != tc.cursors {
				t.Errorf("%d cursors, want %d", len(cs.list), tc.cursors)
			}
		})
	}
}

func TestSixteenReadersKeepTheirOwnStreams(t *testing.T) {
	var cs cursors
	var offsets []int64
	for step := range int64(20) {
		for reader := range int64(16) {
			offsets = append(offsets, reader*64*mib+step*2*mib)
		}
	}
	replay(&cs, 2*mib, offsets...)
	if len(cs.list) != 16 || cs.live(0) != 16 {
		t.Errorf("%d cursors, %d streams", len(cs.list), cs.live(0))
	}
}

func TestCursorsAreBounded(t *testing.T) {
	var cs cursors
	for i := range int64(10 * maxCursors) {
		cs.match((i+1)*100*mib, (i+1)*100*mib+mib, uint64(i), func(int64, int64) bool { return false })
	}
	cs.first(0)
	if len(cs.list) != maxCursors {
		t.Errorf("%d cursors", len(cs.list))
	}
}

// What is read downwards is told by reads that came one after the other; reads
// that wait at the same time tell nothing.
func TestDirectionIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		offsets  []int64 // of reads of one MiB
		waiting  bool
		descends bool
	}{
		"upwards":              {upwards(0, 8*mib), false, false},
		"downwards":            {[]int64{40 * mib, 39 * mib, 38 * mib, 37 * mib}, false, true},
		"downwards by pairs":   {[]int64{40 * mib, 41 * mib, 38 * mib, 39 * mib, 36 * mib, 37 * mib}, false, true},
		"reordered, at once":   {[]int64{3 * mib, 2 * mib, mib, 0, 7 * mib, 6 * mib, 5 * mib, 4 * mib}, true, false},
		"far down, past 8 MiB": {append([]int64{64 * mib}, downwards(64*mib, 32*mib)...), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			var cs cursors
			var c *cursor
			for _, off := range tc.offsets {
				c, _ = cs.match(off, off+mib, 0, func(int64, int64) bool { return false })
				c.window = 8 * mib
				if tc.waiting {
					c.waiting = 1
				}
			}
			if c.descends() != tc.descends || len(cs.list) != 1 {
				t.Errorf("descends: %v, want %v; %d cursors", c.descends(), tc.descends, len(cs.list))
			}
		})
	}
}

func downwards(hi, lo int64) (offsets []int64) {
	for off := hi - mib; off >= lo; off -= mib {
		offsets = append(offsets, off)
	}
	return offsets
}

// The C library copies the last bytes of a tensor first. The stream goes on
// where it was, and over what was read around that end.
func TestLookAtTheEndIsNoJump(t *testing.T) {
	for name, covered := range map[string]bool{"fetched ahead": true, "not fetched": false} {
		t.Run(name, func(t *testing.T) {
			var cs cursors
			c := replay(&cs, mib, upwards(0, 64*mib)...)
			for _, off := range append([]int64{96 * mib, 97 * mib}, upwards(64*mib, 100*mib)...) {
				c, _ = cs.match(off, off+mib, 0, func(int64, int64) bool { return covered })
				c.window = max(c.window, 64*mib)
			}
			if len(cs.list) != 1 || c.start != 0 || c.pos != 100*mib {
				t.Errorf("%d cursors, run from %d to %d MiB", len(cs.list), c.start/mib, c.pos/mib)
			}
		})
	}
}

// The first jump far beyond its window tells that a stream was left; a rank that
// jumps as it did before has left nothing.
func TestLeftStreamIsAbandoned(t *testing.T) {
	var cs cursors
	none := func(int64, int64) bool { return false }
	replay(&cs, mib, upwards(0, 32*mib)...)
	if _, abandoned := cs.match(512*mib, 513*mib, 0, none); abandoned == nil || abandoned.pos != 32*mib {
		t.Errorf("abandoned: %+v", abandoned)
	}
	replay(&cs, mib, upwards(513*mib, 544*mib)...)
	if c, abandoned := cs.match(1024*mib, 1025*mib, 0, none); abandoned != nil || c.expect != 32*mib {
		t.Errorf("abandoned %+v, expects %d MiB", abandoned, c.expect/mib)
	}
}

func upwards(lo, hi int64) (offsets []int64) {
	for off := lo; off < hi; off += mib {
		offsets = append(offsets, off)
	}
	return offsets
}

func TestWindowStops(t *testing.T) {
	const size = 1000 * mib
	for _, tc := range []struct {
		name   string
		others []cursor
		c      cursor
		want   int64
	}{
		{"at the end", nil, cursor{pos: 10 * mib}, size},
		{"where another run began", []cursor{{start: 64 * mib, pos: 80 * mib}}, cursor{pos: 10 * mib}, 64 * mib},
		{"not where another only just began", []cursor{{start: 64 * mib, pos: 65 * mib}}, cursor{pos: 10 * mib}, size},
		{"not behind", []cursor{{start: 0, pos: 80 * mib}}, cursor{start: 5 * mib, pos: 10 * mib}, size},
		{"where its run is expected to end", nil, cursor{start: 100 * mib, pos: 110 * mib, expect: 32 * mib}, 132 * mib},
		{"a run longer than expected", nil, cursor{start: 100 * mib, pos: 140 * mib, expect: 32 * mib}, size},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cs := cursors{list: []*cursor{&tc.c}}
			for i := range tc.others {
				cs.list = append(cs.list, &tc.others[i])
			}
			if got := cs.stop(&tc.c, size, 0); got != tc.want {
				t.Errorf("stop at %d MiB, want %d", got/mib, tc.want/mib)
			}
		})
	}
}

// A reader that reads one tensor of 32 MiB and skips seven tells by its first
// run how long the others will be.
func TestRunLengthIsLearnt(t *testing.T) {
	var cs cursors
	var offsets []int64
	for off := int64(0); off < 32*mib; off += mib {
		offsets = append(offsets, off)
	}
	c := replay(&cs, mib, append(offsets, 256*mib)...)
	if c.expect != 32*mib {
		t.Errorf("expects a run of %d MiB", c.expect/mib)
	}
	if got := cs.stop(c, 1000*mib, 0); got != 288*mib {
		t.Errorf("window stops at %d MiB", got/mib)
	}
}

func TestAwaited(t *testing.T) {
	behind := cursor{pos: 10 * mib, window: mib, used: 5}
	for _, tc := range []struct {
		name   string
		list   []cursor
		off    int64
		oldest uint64
		want   bool
	}{
		{"ahead of a stream", []cursor{behind}, 20 * mib, 0, true},
		{"behind it", []cursor{behind}, 5 * mib, 0, false},
		{"ahead of a dead stream", []cursor{behind}, 20 * mib, 6, false},
		{"ahead of random reads", []cursor{{pos: mib, used: 5}}, 20 * mib, 0, false},
		{"read by one that leads", []cursor{behind, {start: 0, pos: 90 * mib, window: mib, used: 5}}, 20 * mib, 0, true},
		{"read by a run that began further ahead", []cursor{behind, {start: 15 * mib, pos: 90 * mib, window: mib, used: 5}}, 20 * mib, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var cs cursors
			for i := range tc.list {
				cs.list = append(cs.list, &tc.list[i])
			}
			if got := cs.awaited(tc.off, tc.oldest); got != tc.want {
				t.Errorf("awaited: %v", got)
			}
		})
	}
}
