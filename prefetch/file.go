package prefetch

import (
	"hash/maphash"

	"weightfs/remote"
)

// file is what the cache knows of one object version. Guarded by the cache's
// lock.
type file struct {
	obj     remote.Object
	id      uint64 // of its version, the same when it is opened again
	blocks  map[int64]*block
	cursors cursors
	handles int
	waiters []*View   // waiting for bytes
	flights []*flight // queued or under way
	read    int64     // bytes served for the first time since it was opened

	setbacks  setbacks       // failed waits of the last moment
	announced bool           // the next object was asked for
	next      *remote.Object // what is read after this one; nil if unknown
}

// identity is the key of the file table: key and version.
type identity struct{ key, version string }

func newFile(obj remote.Object, seed maphash.Seed) *file {
	return &file{
		obj:    obj,
		id:     maphash.Comparable(seed, identity{obj.Key, obj.Version}),
		blocks: make(map[int64]*block),
	}
}

// blockID is what retention knows a block by: stable across its eviction, so
// that the policy remembers how often it was read. Never 0.
func (f *file) blockID(index int64) uint64 {
	id := (f.id ^ uint64(index)) * 0x9E3779B97F4A7C15 // golden ratio: spreads neighbours
	return max(id, 1)
}

// span calls visit for each block that [off, end) touches, with the range
// inside of it, until visit returns false. b is nil where there is none.
func (f *file) span(off, end int64, visit func(index int64, b *block, lo, hi int64) bool) {
	for index := off / blockSize; index*blockSize < end; index++ {
		base := index * blockSize
		if !visit(index, f.blocks[index], max(off-base, 0), min(end-base, blockSize)) {
			return
		}
	}
}

// missing is how many of the blocks that [off, end) touches do not exist.
func (f *file) missing(off, end int64) (n int) {
	f.span(off, end, func(_ int64, b *block, _, _ int64) bool {
		if b == nil {
			n++
		}
		return true
	})
	return n
}

// covered says whether all of [off, end) is there or in flight.
func (f *file) covered(off, end int64) bool {
	all := true
	f.span(off, min(end, f.obj.Size), func(_ int64, b *block, lo, hi int64) bool {
		all = b != nil && (b.have | b.claimed).has(chunksTouching(lo, hi))
		return all
	})
	return all
}

// present says whether all of [off, end) can be read.
func (f *file) present(off, end int64) bool {
	all := true
	f.span(off, end, func(_ int64, b *block, lo, hi int64) bool {
		all = b != nil && b.have.has(chunksTouching(lo, hi))
		return all
	})
	return all
}

// gap is the first maximal range of whole chunks inside [off, end) that is
// neither there nor in flight; ok is false where there is none.
func (f *file) gap(off, end int64) (lo, hi int64, ok bool) {
	end = min(end, f.obj.Size)
	f.span(off, end, func(index int64, b *block, from, to int64) bool {
		wanted := chunksTouching(from, to)
		if b != nil {
			wanted &^= b.have | b.claimed
		}
		first, last := wanted.firstRun()
		if first == 64 {
			return !ok
		}
		base := index * blockSize
		if ok && (first != 0 || hi != base) {
			return false
		}
		if !ok {
			lo, ok = base+first*chunkSize, true
		}
		hi = base + last*chunkSize
		return last == 64
	})
	return lo, min(hi, f.obj.Size), ok
}

// gapBelow is the same from above: the last such range.
func (f *file) gapBelow(off, end int64) (lo, hi int64, ok bool) {
	end = min(end, f.obj.Size)
	for index := (end - 1) / blockSize; index >= 0 && (index+1)*blockSize > off; index-- {
		base := index * blockSize
		wanted := chunksTouching(max(off-base, 0), min(end-base, blockSize))
		if b := f.blocks[index]; b != nil {
			wanted &^= b.have | b.claimed
		}
		first, last := wanted.lastRun()
		switch {
		case ok && base+last*chunkSize != lo:
			return lo, hi, true
		case first == last:
			continue
		case !ok:
			hi, ok = min(base+last*chunkSize, f.obj.Size), true
		}
		lo = base + first*chunkSize
		if first > 0 {
			return lo, hi, true
		}
	}
	return lo, hi, ok
}
