package arena

// Which read blocks stay is decided by two lists, each by recency, and a memory of
// what was let go (2Q). A block that was read once lies in the list once; one that
// is read again, or comes back soon after it was evicted from there, in again.
// Memory is taken from once while that is larger than its share: so a model that
// was read twice outlasts any number that are read once, and it stays whatever was
// read before it. The hits of the last load, in percent, of a cache of 1,000 blocks:
//
//	                                          LRU   this   S3-FIFO
//	A and B of 600, A                           0      0         0
//	A twice, ten others of 400, A               0    100       100
//	A three times, B twice (750 each), B      100    100       100
//	1,200 in a row, three times                 0     28        28
//	30 models of 150 by Zipf, 300 loads        55     63        63
//	eight ranks, each 100 behind the other     88     88        73
//
// Least recently used blocks with ristretto's advice were those alone, in each.

// onceShare is the part of the arena that once may fill before again gives way.
const onceShare = 10

// retainedList is where a read block rests.
func (r *record) retainedList() listName {
	if r.again {
		return again
	}
	return once
}

// noteReread notes that chunks were read that had been read before: all of the
// block, or more than one chunk, which a reader that goes on within a chunk is not
// taken for.
func (r *record) noteReread(touched chunks) {
	if r.read.has(touched) && (touched.count() > 1 || touched == r.have) {
		r.again = true
	}
}

// retainedFirst is the list that memory is taken from first, then the other.
func (a *Arena) retainedFirst() [2]listName {
	if a.lists[once].units*onceShare > int64(a.frames)*classUnits[large] || a.lists[again].front == 0 {
		return [2]listName{once, again}
	}
	return [2]listName{again, once}
}

// ghosts are the blocks that were evicted from once: as many as the arena holds,
// more or less. Fingerprints of 16 bits in sets of eight, the last to come in
// front. The zero value remembers nothing.
type ghosts [][8]uint16

func (g ghosts) set(key uint64) (*[8]uint16, uint16) {
	return &g[key&uint64(len(g)-1)], uint16(key>>48) | 1
}

// add remembers a block.
func (g ghosts) add(key uint64) {
	set, print := g.set(key)
	copy(set[1:], set[:7])
	set[0] = print
}

// take says whether a block is remembered, and forgets it.
func (g ghosts) take(key uint64) bool {
	set, print := g.set(key)
	for i := range set {
		if set[i] == print {
			copy(set[i:], set[i+1:])
			set[7] = 0
			return true
		}
	}
	return false
}

// ghostKey names a block, the same when its object is known anew.
func (a *Arena) ghostKey(n Number, index uint32) uint64 {
	key := (a.objects[n].identity ^ uint64(index)) * 0x9E3779B97F4A7C15
	return key ^ key>>29
}
