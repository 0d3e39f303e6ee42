package stream

import (
	"slices"
	"testing"

	"weightfs/remote"
)

// inParts is a cache in which parts of 8 MiB are fetched, each as a whole.
type inParts map[int64]bool

func (f inParts) Covered(off, end int64) bool {
	_, _, gap := f.Gap(off, end)
	return !gap
}

func (f inParts) Gap(off, end int64) (lo, hi int64, ok bool) {
	const part = 8 * mib
	for lo = off; lo < end && f[lo/part]; lo = roundDown(lo, part) + part {
	}
	for hi = lo; hi < end && !f[hi/part]; hi = roundDown(hi, part) + part {
	}
	return lo, min(hi, end), lo < end
}

func (inParts) GapBelow(int64, int64) (lo, hi int64, ok bool) { return 0, 0, false }

// order is in which order a stream's parts of 8 MiB are fetched whose window is all
// of the object, by a node with that seed.
func order(t *testing.T, seed uint64, announced bool) (parts []int64) {
	t.Helper()
	const size, part = 1024 * mib, 8 * mib
	ss := NewStreams(new(Census), Fleet{Block: part, Seed: seed})
	if announced {
		ss.Want(0, size)
		ss.WantedShare(size, 0)
	} else {
		ss.list = []*Stream{{Pos: 0, Window: size, Ready: true}}
	}
	fetched := inParts{}
	for {
		got, ok := ss.Next(size, 0, func(*Stream) int64 { return part }, fetched)
		if !ok {
			return parts
		}
		if got.Hi-got.Lo != part || got.Lo%part != 0 {
			t.Fatalf("fetched [%d,%d)", got.Lo, got.Hi)
		}
		fetched[got.Lo/part] = true
		parts = append(parts, got.Lo/part)
	}
}

// TestFleetOrder holds that nodes fetch ahead in orders of their own, everything
// once, and nothing much before its turn.
func TestFleetOrder(t *testing.T) {
	for _, announced := range []bool{false, true} {
		plain := order(t, 0, announced)
		if !slices.IsSorted(plain) || len(plain) != 128 {
			t.Errorf("without a fleet: %v", plain)
		}
		first := map[int64]bool{}
		for seed := range uint64(64) {
			parts := order(t, seed+1, announced)
			if again := order(t, seed+1, announced); !slices.Equal(again, parts) {
				t.Errorf("seed %d: once %v, once %v", seed, parts, again)
			}
			first[parts[0]] = true
			missing := int64(0) // the first part that is
			seen := map[int64]bool{}
			for _, part := range parts {
				if seen[part] || part >= missing+shuffleParts {
					t.Errorf("seed %d: part %d, when %d was missing", seed, part, missing)
				}
				for seen[part] = true; seen[missing]; missing++ {
				}
			}
			if len(seen) != 128 {
				t.Errorf("seed %d: %d parts", seed, len(seen))
			}
		}
		if len(first) < shuffleParts/2 {
			t.Errorf("64 nodes begin with %d parts", len(first))
		}
	}
}

// TestFleetBlocks holds that GETs are of whole blocks of the shared cache.
func TestFleetBlocks(t *testing.T) {
	p := Policy{Fleet: Fleet{Block: 8 * mib}}
	for window := int64(2 * mib); window <= 512*mib; window *= 2 {
		if got := p.Part(&Stream{Window: window, Pos: window}, remote.Connections{}, 1); got%(8*mib) != 0 {
			t.Errorf("window %d MiB: parts of %d MiB", window/mib, got/mib)
		}
	}
}
