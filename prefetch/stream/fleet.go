package stream

import (
	"cmp"
	"slices"
)

// Fleet says that many nodes read the same objects at the same time, through a cache
// that they share. The zero value says that there is none.
type Fleet struct {
	// Block is the unit in which that cache fetches and keeps, in bytes: GETs of a
	// stream are of at least one.
	Block int64
	// Seed picks the order in which this node fetches ahead; 0 is ascending. Nodes
	// that all asked for the next block at once would all wait for the one that has
	// it fetched.
	Seed uint64
}

// shuffleParts is among how many parts the next one is picked: enough for a hundred
// nodes to be at different blocks, few enough for memory to hold them.
const shuffleParts = 32

// pick is the gap that is fetched next in [lo, limit): in the order of this node, the
// first among the parts from lo on that lie there whole; ok is false if there is no
// order but ascending. What a reader waits for is not asked of it.
func (f Fleet) pick(lo, limit, part int64, fetched Fetched) (from, to int64, ok bool) {
	if f.Seed == 0 {
		return 0, 0, false
	}
	first := lo / part
	parts := make([]int64, 0, shuffleParts)
	for n := first; n < first+shuffleParts && (n+1)*part <= limit; n++ {
		parts = append(parts, n)
	}
	slices.SortFunc(parts, func(a, b int64) int { return cmp.Compare(f.rank(a), f.rank(b)) })
	for _, n := range parts {
		if from, to, ok := fetched.Gap(max(lo, n*part), (n+1)*part); ok {
			return from, to, true
		}
	}
	return 0, 0, false
}

// rank is the place of a part in the order, as splitmix64 mixes it.
func (f Fleet) rank(part int64) uint64 {
	x := f.Seed + uint64(part)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
