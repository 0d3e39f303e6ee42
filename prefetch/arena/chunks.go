package arena

import "math/bits"

const (
	// BlockSize is the unit of caching, in bytes.
	BlockSize = 1 << 20
	// ChunkSize is the unit in which a block becomes readable while it fills:
	// one sixty-fourth, so that a block's state is one machine word. Small
	// random reads fetch whole chunks.
	ChunkSize = BlockSize / 64
)

// chunks is a set of a block's 64 chunks.
type chunks uint64

// chunksTouching is the set of chunks that hold any byte of [lo, hi), offsets
// within one block.
func chunksTouching(lo, hi int64) chunks {
	if hi <= lo {
		return 0
	}
	return chunksBetween(lo/ChunkSize, (hi+ChunkSize-1)/ChunkSize)
}

// chunksBetween is the set of chunks with index in [first, end).
func chunksBetween(first, end int64) chunks {
	if end <= first {
		return 0
	}
	return chunks(^uint64(0)>>(64-uint(end-first))) << uint(first)
}

// has says whether every chunk of sub is in the set.
func (s chunks) has(sub chunks) bool { return sub&^s == 0 }

// count is the number of chunks in the set.
func (s chunks) count() int { return bits.OnesCount64(uint64(s)) }

// firstRun is the lowest maximal run [first, end) of chunks in the set; first
// is 64 for an empty set.
func (s chunks) firstRun() (first, end int64) {
	first = int64(bits.TrailingZeros64(uint64(s)))
	if first == 64 {
		return 64, 64
	}
	end = first + int64(bits.TrailingZeros64(^(uint64(s) >> uint(first))))
	return first, end
}

// lastRun is the highest maximal run [first, end) of chunks in the set; both are
// 0 for an empty set.
func (s chunks) lastRun() (first, end int64) {
	end = 64 - int64(bits.LeadingZeros64(uint64(s)))
	if end == 0 {
		return 0, 0
	}
	return end - int64(bits.LeadingZeros64(^(uint64(s) << uint(64-end)))), end
}

func roundDown(n, unit int64) int64 { return n - n%unit }
