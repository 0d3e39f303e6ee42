package stream

import "testing"

// chunked is a cache in which chunks are fetched one by one.
type chunked map[int64]bool

func (c chunked) Covered(off, end int64) bool {
	_, _, gap := c.Gap(off, end)
	return !gap
}

func (c chunked) Gap(off, end int64) (lo, hi int64, ok bool) {
	for at := roundDown(off, chunk); at < end; at += chunk {
		switch {
		case c[at] && ok:
			return lo, at, true
		case !c[at] && !ok:
			lo, ok = at, true
		}
	}
	return lo, roundUp(end, chunk), ok
}

func (chunked) GapBelow(int64, int64) (lo, hi int64, ok bool) { return 0, 0, false }

// What is wanted is fetched in the order that it was said, ranges in a row
// together, and nothing else is.
func TestWanted(t *testing.T) {
	ss := NewStreams(new(Census), Fleet{})
	ss.Want(8*mib, 10*mib)
	ss.Want(10*mib, 12*mib)
	ss.Want(mib+5, mib+6)
	ss.Want(20*mib, 30*mib)
	ss.WantedShare(1<<40, 0)
	fetched := chunked{9 * mib: true}
	part := func(*Stream) int64 { return 4 * mib }
	for _, want := range []Part{
		{nil, 8 * mib, 9 * mib, 0},
		{nil, 9*mib + chunk, 12 * mib, mib + chunk},
		{nil, mib, mib + chunk, 4 * mib},
		{nil, 20 * mib, 24 * mib, 4*mib + 1},
		{nil, 24 * mib, 28 * mib, 8*mib + 1},
		{nil, 28 * mib, 30 * mib, 12*mib + 1},
	} {
		got, ok := ss.Next(100*mib, 0, part, fetched)
		if !ok || got != want {
			t.Fatalf("next is %+v, %v; want %+v", got, ok, want)
		}
		for at := got.Lo; at < got.Hi; at += chunk {
			fetched[at] = true
		}
	}
	if got, ok := ss.Next(100*mib, 0, part, fetched); ok {
		t.Errorf("%+v, which nobody wants", got)
	}
	for off, want := range map[int64]int64{8 * mib: 12 * mib, 10 * mib: 12 * mib, 20 * mib: 24 * mib, 29 * mib: 30 * mib, 50 * mib: 50*mib + 1} {
		if got := ss.WantedEnd(off, off+1, part); got != want {
			t.Errorf("a fetch from %d ends at %d, want %d", off, got, want)
		}
	}
	needs := ss.Needs(nil)
	for off, want := range map[int64]bool{0: false, mib: true, 2 * mib: false, 8 * mib: true, 11 * mib: true, 12 * mib: false, 25 * mib: true, 30 * mib: false} {
		if got := needs.Include(off, 0); got != want {
			t.Errorf("%d is needed: %v", off, got)
		}
	}
	if needs.Include(25*mib, 1) {
		t.Error("what was wanted long ago, and not read since, is needed")
	}
	ss.Unwant(20*mib, 30*mib)
	if ss.Needs(nil).Include(25*mib, 0) || ss.wantedBytes != 4*mib+1 {
		t.Error("what is no longer wanted stays")
	}
	ss.Forget()
	if len(ss.Needs(nil)) > 0 {
		t.Error("something is needed after Forget")
	}
}

// What is wanted is fetched no further ahead of what is read next than its share,
// and goes on as that is read. It counts as a stream.
func TestWantedShare(t *testing.T) {
	census := new(Census)
	ss, other := NewStreams(census, Fleet{}), NewStreams(census, Fleet{})
	for off := int64(0); off < 40*mib; off += 4 * mib {
		ss.Want(off, off+4*mib)
	}
	ss.WantedShare(10*mib, 0)
	other.Open(&Stream{}, 1, 0)
	if got := census.Live(0); got != 2 {
		t.Errorf("%d streams are counted", got)
	}
	fetched := chunked{}
	fetch := func() (bytes int64) {
		for {
			part, ok := ss.Next(100*mib, 0, func(*Stream) int64 { return 4 * mib }, fetched)
			if _, distant := ss.wantedDistance(); distant != ok && !ok {
				t.Error("a distance to what may not be fetched")
			}
			if !ok {
				return bytes
			}
			for at := part.Lo; at < part.Hi; at += chunk {
				fetched[at] = true
			}
			bytes += part.Hi - part.Lo
		}
	}
	if got := fetch(); got != 12*mib {
		t.Errorf("%d MiB are fetched ahead, the share is 10", got/mib)
	}
	ss.Unwant(0, 4*mib)
	ss.WantedShare(10*mib, 0)
	if got := fetch(); got != 4*mib {
		t.Errorf("%d MiB are fetched after 4 were read", got/mib)
	}
	ss.Forget()
	if got := census.Live(0); got != 1 {
		t.Errorf("%d streams are counted after the end", got)
	}
}
