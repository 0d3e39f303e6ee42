package stream

import (
	"testing"

	"weightfs/remote"
)

const mib = 1 << 20

// known is a cache of which everything is fetched, or nothing.
type known bool

func (k known) Covered(int64, int64) bool { return bool(k) }

func (k known) Gap(off, end int64) (lo, hi int64, ok bool) { return off, end, !bool(k) && off < end }

func (k known) GapBelow(off, end int64) (lo, hi int64, ok bool) { return k.Gap(off, end) }

// live is how many streams have a window.
func (ss *Streams) live() int {
	n, _ := ss.Windows(0)
	return int(n)
}

// replay replays reads of n bytes at the offsets and returns the last stream.
func replay(ss *Streams, n int64, offsets ...int64) *Stream {
	var s *Stream
	p := Policy{PartSize: 8 * mib}
	for i, off := range offsets {
		s = ss.Match(1, off, off+n, uint64(i), known(true)).Stream
		ss.Open(s, p.Next(s, true, 1<<40, remote.Connections{}), uint64(i))
	}
	return s
}

func TestStreamsAreToldApart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		n       int64
		offsets []int64
		streams int // with a window
		total   int
	}{
		{"one read", 4096, []int64{0}, 0, 1},
		{"sequential", 128 << 10, []int64{0, 128 << 10, 256 << 10, 384 << 10}, 1, 1},
		{"reordered by the kernel", mib, []int64{0, 3 * mib, mib, 2 * mib, 5 * mib, 4 * mib}, 1, 1},
		{"two interleaved", mib, []int64{0, 100 * mib, mib, 101 * mib, 2 * mib, 102 * mib}, 2, 2},
		{"random", 128 << 10, []int64{10 * mib, 50 * mib, 20 * mib, 90 * mib, 21 * mib, 93 * mib}, 0, 6},
		{"small reads that fall near each other by chance", 16 << 10, []int64{10 * mib, 12 * mib, 11 * mib, 9 * mib}, 0, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ss := NewStreams(new(Census), Fleet{})
			replay(&ss, tc.n, tc.offsets...)
			if got := ss.live(); got != tc.streams {
				t.Errorf("%d streams, want %d", got, tc.streams)
			}
			if len(ss.list) != tc.total {
				t.Errorf("%d in all, want %d", len(ss.list), tc.total)
			}
		})
	}
}

func TestSixteenReadersKeepTheirOwnStreams(t *testing.T) {
	ss := NewStreams(new(Census), Fleet{})
	var offsets []int64
	for step := range int64(20) {
		for reader := range int64(16) {
			offsets = append(offsets, reader*64*mib+step*2*mib)
		}
	}
	replay(&ss, 2*mib, offsets...)
	if len(ss.list) != 16 || ss.live() != 16 {
		t.Errorf("%d streams in all, %d streams", len(ss.list), ss.live())
	}
}

func TestStreamsAreBounded(t *testing.T) {
	ss := NewStreams(new(Census), Fleet{})
	for i := range int64(10 * maxStreams) {
		ss.Match(1, (i+1)*100*mib, (i+1)*100*mib+mib, uint64(i), known(false))
	}
	ss.First(mib, 0)
	if len(ss.list) != maxStreams {
		t.Errorf("%d streams in all", len(ss.list))
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
			ss := NewStreams(new(Census), Fleet{})
			var c *Stream
			for _, off := range tc.offsets {
				c = ss.Match(1, off, off+mib, 0, known(false)).Stream
				c.Window = 8 * mib
				if tc.waiting {
					c.Waiting = 1
				}
			}
			if c.descends() != tc.descends || len(ss.list) != 1 {
				t.Errorf("descends: %v, want %v; %d streams in all", c.descends(), tc.descends, len(ss.list))
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
			ss := NewStreams(new(Census), Fleet{})
			c := replay(&ss, mib, upwards(0, 64*mib)...)
			for _, off := range append([]int64{96 * mib, 97 * mib}, upwards(64*mib, 100*mib)...) {
				c = ss.Match(1, off, off+mib, 0, known(covered)).Stream
				c.Window = max(c.Window, 64*mib)
			}
			if len(ss.list) != 1 || c.start != 0 || c.Pos != 100*mib {
				t.Errorf("%d streams in all, run from %d to %d MiB", len(ss.list), c.start/mib, c.Pos/mib)
			}
		})
	}
}

// A jump far beyond the window tells that a stream was left once the run there is
// long enough, unless the stream was read meanwhile; a rank that jumps as it did
// before has left nothing.
func TestLeftStream(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before []int64 // read before the jump
		after  []int64 // read after it
		reader uint64  // by whom; the one before was 1
		left   int64   // end of the stream that was left; 0: none
		expect int64   // run of the last stream
	}{
		{"the reader's first jump", upwards(0, 32*mib), upwards(512*mib, 513*mib), 1, 32 * mib, 32 * mib},
		{"another reader's first bytes", upwards(0, 32*mib), upwards(512*mib, 515*mib), 2, 0, 32 * mib},
		{"another reader, and nothing of the first", upwards(0, 32*mib), upwards(512*mib, 517*mib), 2, 32 * mib, 32 * mib},
		{"another reader beside the first", upwards(0, 32*mib), append(append(upwards(512*mib, 514*mib), 32*mib), upwards(514*mib, 520*mib)...), 2, 0, 0},
		{"a reader of two streams", append(upwards(0, 32*mib), upwards(900*mib, 903*mib)...), upwards(512*mib, 513*mib), 1, 0, 32 * mib},
		{"within reach of the window", upwards(0, 32*mib), upwards(60*mib, 66*mib), 1, 0, 32 * mib},
		{"the second jump", append(upwards(0, 32*mib), upwards(512*mib, 544*mib)...), upwards(1024*mib, 1030*mib), 1, 0, 32 * mib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ss := NewStreams(new(Census), Fleet{})
			replay(&ss, mib, tc.before...)
			left := int64(0)
			var m Match
			for _, off := range tc.after {
				if m = ss.Match(tc.reader, off, off+mib, 0, known(false)); m.Left != nil {
					left = m.Left.Pos
				}
			}
			if left != tc.left || m.Stream.expected != tc.expect {
				t.Errorf("left a stream at %d MiB, expects a run of %d MiB; want %d, %d", left/mib, m.Stream.expected/mib, tc.left/mib, tc.expect/mib)
			}
		})
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
		others []Stream
		c      Stream
		want   int64
	}{
		{"at the end", nil, Stream{Pos: 10 * mib}, size},
		{"where another run began", []Stream{{start: 64 * mib, Pos: 80 * mib}}, Stream{Pos: 10 * mib}, 64 * mib},
		{"not where another only just began", []Stream{{start: 64 * mib, Pos: 65 * mib}}, Stream{Pos: 10 * mib}, size},
		{"not behind", []Stream{{start: 0, Pos: 80 * mib}}, Stream{start: 5 * mib, Pos: 10 * mib}, size},
		{"where its run is expected to end", nil, Stream{start: 100 * mib, Pos: 110 * mib, expected: 32 * mib}, 132 * mib},
		{"a run longer than expected", nil, Stream{start: 100 * mib, Pos: 140 * mib, expected: 32 * mib}, size},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ss := Streams{census: new(Census), list: []*Stream{&tc.c}}
			for i := range tc.others {
				ss.list = append(ss.list, &tc.others[i])
			}
			if got := ss.stop(&tc.c, size, 0); got != tc.want {
				t.Errorf("stop at %d MiB, want %d", got/mib, tc.want/mib)
			}
		})
	}
}

// A reader that reads one tensor of 32 MiB and skips seven tells by its first
// run how long the others will be.
func TestRunLengthIsLearnt(t *testing.T) {
	ss := NewStreams(new(Census), Fleet{})
	var offsets []int64
	for off := int64(0); off < 32*mib; off += mib {
		offsets = append(offsets, off)
	}
	c := replay(&ss, mib, append(offsets, 256*mib)...)
	if c.expected != 32*mib {
		t.Errorf("expects a run of %d MiB", c.expected/mib)
	}
	if got := ss.stop(c, 1000*mib, 0); got != 288*mib {
		t.Errorf("window stops at %d MiB", got/mib)
	}
}

func TestNeeds(t *testing.T) {
	behind := Stream{Pos: 10 * mib, Window: mib, used: 5}
	for _, tc := range []struct {
		name   string
		list   []Stream
		off    int64
		oldest uint64
		want   bool
	}{
		{"ahead of a stream", []Stream{behind}, 20 * mib, 0, true},
		{"behind it", []Stream{behind}, 5 * mib, 0, false},
		{"ahead of a dead stream", []Stream{behind}, 20 * mib, 6, false},
		{"ahead of random reads", []Stream{{Pos: mib, used: 5}}, 20 * mib, 0, false},
		{"read by one that leads", []Stream{behind, {start: 0, Pos: 90 * mib, Window: mib, used: 5}}, 20 * mib, 0, true},
		{"read by a run that began further ahead", []Stream{behind, {start: 15 * mib, Pos: 90 * mib, Window: mib, used: 5}}, 20 * mib, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ss := NewStreams(new(Census), Fleet{})
			for i := range tc.list {
				ss.list = append(ss.list, &tc.list[i])
			}
			if got := ss.Needs(nil).Include(tc.off, tc.oldest); got != tc.want {
				t.Errorf("included: %v", got)
			}
		})
	}
}
