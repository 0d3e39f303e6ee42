package stream

import (
	"testing"

	"weightfs/remote"
)

func TestWindowGrowth(t *testing.T) {
	stream := Stream{Pos: 100 * mib, bytes: 100 * mib, Window: 8 * mib, reads: 100}
	for _, tc := range []struct {
		name    string
		mode    Mode
		c       Stream
		stalled bool
		share   int64
		want    int64
	}{
		{"first small read", Auto, Stream{Pos: 4096, bytes: 4096, reads: 1}, true, 1 << 40, 0},
		{"first small read, sequential mode", Sequential, Stream{Pos: 4096, bytes: 4096, reads: 1}, false, 1 << 40, 2 * mib},
		{"first bulk read", Auto, Stream{Pos: mib, bytes: mib, reads: 1}, true, 1 << 40, 4 * mib},
		{"off", Off, stream, true, 1 << 40, 0},
		{"doubles when the reader catches up", Auto, stream, true, 1 << 40, 16 * mib},
		{"stays when it does not", Auto, stream, false, 1 << 40, 8 * mib},
		{"its fair share", Auto, stream, true, 10 * mib, 10 * mib},
		{"no longer than its run", Auto, Stream{Pos: 20 * mib, bytes: 20 * mib, Window: 16 * mib, reads: 20}, true, 1 << 40, 20 * mib},
		{"the run of the shard before counts", Auto, Stream{Pos: mib, bytes: mib, reads: 1, Window: 64 * mib, inherited: 64 * mib}, false, 1 << 40, 64 * mib},
		{"jumps are no stream", Auto, Stream{Pos: 100 * mib, bytes: mib, reads: 8, Window: 8 * mib}, true, 1 << 40, 0},
	} {
		if got := (Policy{Mode: tc.mode}).Next(&tc.c, tc.stalled, tc.share, remote.Connections{}); got != tc.want {
			t.Errorf("%s: window of %d, want %d", tc.name, got, tc.want)
		}
	}
}

// Where connections are fast a window may be longer than the run, until the GETs
// are as large as they get.
func TestWindowWhereConnectionsAreFast(t *testing.T) {
	for _, tc := range []struct {
		part, run, window int64
		best              float64
		want              int64
	}{
		{0, 12 * mib, 32 * mib, 60e6, 12 * mib},
		{0, 12 * mib, 32 * mib, 160e6, 24 * mib},
		{0, 12 * mib, 32 * mib, 1e9, 48 * mib},
		{0, 12 * mib, 8 * mib, 1e9, 16 * mib},
		{0, 60 * mib, 64 * mib, 1e9, 64 * mib},
		{0, 90 * mib, 64 * mib, 1e9, 90 * mib},
		{8 * mib, 12 * mib, 32 * mib, 1e9, 16 * mib},
	} {
		c := &Stream{Pos: tc.run, bytes: tc.run, Window: tc.window, reads: 9}
		if got := (Policy{PartSize: tc.part}).Next(c, true, 1<<40, remote.Connections{Best: tc.best}); got != tc.want {
			t.Errorf("window of %+v: %d", tc, got)
		}
	}
}

func TestPartFor(t *testing.T) {
	for _, tc := range []struct {
		part, window, run int64
		best              float64
		streams           int
		want              int64
	}{
		{8 * mib, 0, 0, 0, 1, mib},
		{8 * mib, 8 * mib, 8 * mib, 0, 1, mib},
		{8 * mib, 8 * mib, 8 * mib, 0, 16, 8 * mib},
		{8 * mib, 8 * mib, 8 * mib, 0, 8, 4 * mib},
		{8 * mib, 32 * mib, 32 * mib, 0, 1, 2 * mib},
		{8 * mib, 128 * mib, 128 * mib, 0, 1, 8 * mib},
		{8 * mib, 16 * mib, 1000 * mib, 0, 1, 4 * mib},
		{8 * mib, 1000 * mib, 1000 * mib, 0, 1, 8 * mib},
		{8 * mib, 1000 * mib, 1000 * mib, 1e9, 1, 8 * mib},
		{12 * mib, 1000 * mib, 1000 * mib, 0, 1, 12 * mib},
		{1 * mib, 1000 * mib, 1000 * mib, 0, 1, mib},
		{0, 1000 * mib, 1000 * mib, 0, 1, 8 * mib},
		{0, 1000 * mib, 1000 * mib, 140e6, 1, 8 * mib},
		{0, 1000 * mib, 1000 * mib, 157e6, 1, 16 * mib},
		{0, 1000 * mib, 1000 * mib, 260e6, 1, 16 * mib},
		{0, 1000 * mib, 1000 * mib, 1e9, 1, 32 * mib},
		{0, 32 * mib, 32 * mib, 1e9, 1, 8 * mib},
		{0, 32 * mib, 32 * mib, 1e9, 2, 16 * mib},
		{0, 32 * mib, 1000 * mib, 1e9, 8, 16 * mib},
	} {
		if got := (Policy{PartSize: tc.part}).Part(&Stream{Pos: tc.run, Window: tc.window}, remote.Connections{Best: tc.best}, tc.streams); got != tc.want {
			t.Errorf("part of %+v: %d", tc, got)
		}
	}
}

func TestDemandEnd(t *testing.T) {
	stream := &Stream{Pos: 64 * mib, Window: 64 * mib}
	for _, tc := range []struct {
		name          string
		mode          Mode
		c             *Stream
		off, end      int64
		size, wantEnd int64
	}{
		{"the header of a checkpoint", Auto, &Stream{}, 0, 8, 100 * mib, FirstFetch},
		{"a small object", Auto, &Stream{}, 0, 8, 1000, 1000},
		{"a random read", Auto, &Stream{}, 5 * mib, 5*mib + 4096, 100 * mib, 5*mib + minimumFetch},
		{"off: only what is asked for", Off, &Stream{}, 5 * mib, 5*mib + 4096, 100 * mib, 5*mib + chunk},
		{"a stream: to the end of its part", Auto, stream, 61 * mib, 62 * mib, 1000 * mib, 64 * mib},
		{"never beyond the object", Auto, stream, 61 * mib, 62 * mib, 62*mib + 5, 62*mib + 5},
	} {
		if got := (Policy{Mode: tc.mode, PartSize: 8 * mib}).DemandEnd(tc.c, 8*mib, tc.off, tc.end, tc.size); got != tc.wantEnd {
			t.Errorf("%s: ends at %d, want %d", tc.name, got, tc.wantEnd)
		}
	}
}
