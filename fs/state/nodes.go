package state

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// Node is what is kept of an inode that the kernel knows.
type Node struct {
	ID      uint64 // below 1<<56
	Lookups uint64 // references of the kernel's; it may have fewer
	Key     string
	Version string
	Target  string // of a link
	Kind    uint8
	Size    int64
	// What of an inode may change.
	ModTime  time.Time // zero: not known
	Archived bool
	// Opens counts the open handles while their backing file is decided: the id
	// that the kernel knows it by, or 0 for reads that the daemon serves. There may
	// be fewer handles.
	Opens   int32
	Backing int32
}

// Ref is where a node is kept. The zero value is nowhere: so is a node for which
// there was no room, which the next daemon does not know.
type Ref uint32

// A node is a chain of cells. The first word of each tells what it is: a node's
// number in its first cell, and in those that follow the mark and the next one.
// A cell with 0 is free, as is each that no node's chain leads to.
type cell struct {
	id       uint64 // of the node; published last
	backing  uint64 // opens, and the id below them
	modified uint64 // the time in ns, and whether it is archived; see pack
	size     int64
	next     uint32 // Ref of the next cell
	sum      uint32 // of what does not change
	lengths  [3]uint16
	kind     uint8
	_        uint8
	text     [16]byte
}

// more is a cell after a node's first.
type more struct {
	next uint64 // continued, and the Ref of the next cell
	text [56]byte
}

const (
	continued = 0xff << 56
	maxText   = 1<<16 - 1 // of each of a node's texts
	firstText = len(cell{}.text)
	moreText  = len(more{}.text)
)

func (f *File) cell(r Ref) *cell { return (*cell)(unsafe.Pointer(f.at(r))) }
func (f *File) more(r Ref) *more { return (*more)(unsafe.Pointer(f.at(r))) }
func (f *File) at(r Ref) *byte   { return &f.memory[cellsAt+(int(r)-1)*cellSize] }

func (f *File) lookups(r Ref) *uint64 {
	return (*uint64)(unsafe.Pointer(&f.memory[lookupsAt+(int(r)-1)*8]))
}

// Add keeps a node. Without room it is nowhere.
func (f *File) Add(n Node) Ref {
	if f == nil || max(len(n.Key), len(n.Version), len(n.Target)) > maxText {
		return 0
	}
	length := len(n.Key) + len(n.Version) + len(n.Target)
	following := (max(length-firstText, 0) + moreText - 1) / moreText
	if len(f.freed)+cells-int(f.head.used) < 1+following {
		return 0
	}
	first := f.take()
	c := f.cell(first)
	*f.lookups(first) = n.Lookups
	c.size, c.kind, c.next = n.Size, n.Kind, 0
	c.backing, c.modified = packBacking(n.Opens, n.Backing), packTime(n.ModTime, n.Archived)
	c.lengths = [3]uint16{uint16(len(n.Key)), uint16(len(n.Version)), uint16(len(n.Target))}
	c.sum = sum(&n)
	room, last := c.text[:], (*more)(nil)
	for _, text := range [...]string{n.Key, n.Version, n.Target} {
		for {
			written := copy(room, text)
			room, text = room[written:], text[written:]
			if text == "" {
				break
			}
			r := f.take()
			if last == nil {
				c.next = uint32(r)
			} else {
				last.next |= uint64(r)
			}
			last = f.more(r)
			last.next, room = continued, last.text[:]
		}
	}
	atomic.StoreUint64(&c.id, n.ID)
	return first
}

// take returns a free cell, of which there is one.
func (f *File) take() Ref {
	if last := len(f.freed) - 1; last >= 0 {
		r := Ref(f.freed[last])
		f.freed = f.freed[:last]
		return r
	}
	atomic.StoreUint64(&f.head.used, f.head.used+1)
	return Ref(f.head.used)
}

// SetLookups records the references of a node.
func (f *File) SetLookups(r Ref, lookups uint64) {
	if r != 0 {
		*f.lookups(r) = lookups
	}
}

// SetModified records what of a node has changed.
func (f *File) SetModified(r Ref, modified time.Time, archived bool) {
	if r != 0 {
		f.cell(r).modified = packTime(modified, archived)
	}
}

// SetBacking records the open handles of a node, and their backing file.
func (f *File) SetBacking(r Ref, opens, id int32) {
	if r == 0 {
		return
	}
	f.head.lastBack = max(f.head.lastBack, uint64(id))
	f.cell(r).backing = packBacking(opens, id)
}

// Remove forgets a node.
func (f *File) Remove(r Ref) {
	if r == 0 {
		return
	}
	c := f.cell(r)
	atomic.StoreUint64(&c.id, 0)
	f.freed = append(f.freed, uint32(r))
	for next := Ref(c.next); next != 0; {
		f.freed = append(f.freed, uint32(next))
		next = Ref(uint32(f.more(next).next))
	}
}

// Restore calls fn for each node that the predecessor left, and returns how many
// were damaged: they are forgotten. It is called once, before anything is added; fn
// may remove each node that it was called with.
func (f *File) Restore(fn func(Ref, Node)) (damaged int) {
	used := Ref(f.head.used)
	taken := make([]bool, used+1)
	var chain []Ref
	for r := Ref(1); r <= used; r++ {
		id := f.cell(r).id
		if id == 0 || id >= continued {
			continue
		}
		node, ok := f.read(r, used, &chain)
		for _, c := range chain {
			ok = ok && !taken[c]
		}
		if !ok {
			damaged++
			f.cell(r).id = 0
			continue
		}
		for _, c := range chain {
			taken[c] = true
		}
		fn(r, node)
	}
	for r := used; r > 0; r-- { // the first ones are used first
		if !taken[r] {
			f.cell(r).id = 0
			f.freed = append(f.freed, uint32(r))
		}
	}
	return damaged
}

// read reads the node whose first cell is r, and tells whether it is whole. The
// chain is that of its cells as far as it got.
func (f *File) read(r, used Ref, chain *[]Ref) (n Node, ok bool) {
	c := f.cell(r)
	length := int(c.lengths[0]) + int(c.lengths[1]) + int(c.lengths[2])
	text := make([]byte, 0, length)
	text = append(text, c.text[:min(firstText, length)]...)
	*chain = append((*chain)[:0], r)
	for next := Ref(c.next); next != 0; {
		if next > used || len(text) >= length || f.more(next).next&continued != continued {
			return n, false
		}
		m := f.more(next)
		text = append(text, m.text[:min(moreText, length-len(text))]...)
		*chain = append(*chain, next)
		next = Ref(uint32(m.next))
	}
	if len(text) != length {
		return n, false
	}
	all := unsafe.String(unsafe.SliceData(text), length) // nothing else has it
	key, version := int(c.lengths[0]), int(c.lengths[0])+int(c.lengths[1])
	n = Node{ID: c.id, Lookups: *f.lookups(r), Key: all[:key], Version: all[key:version], Target: all[version:], Kind: c.kind, Size: c.size}
	n.ModTime, n.Archived = unpackTime(c.modified)
	n.Opens, n.Backing = int32(c.backing>>32), int32(uint32(c.backing))
	return n, sum(&n) == c.sum
}

// sum is a checksum of what of a node does not change. That of an empty cell is
// none.
func sum(n *Node) uint32 {
	fixed := [5]uint64{n.ID, uint64(n.Size), uint64(n.Kind), uint64(len(n.Key)), uint64(len(n.Version))}
	h := xxh3.Hash(unsafe.Slice((*byte)(unsafe.Pointer(&fixed)), unsafe.Sizeof(fixed)))
	for _, text := range [...]string{n.Key, n.Version, n.Target} {
		h = xxh3.HashStringSeed(text, h)
	}
	return uint32(h) | 1
}

func packBacking(opens, id int32) uint64 { return uint64(uint32(opens))<<32 | uint64(uint32(id)) }

// Times are kept in ns, from 1824 to 2116: of one beyond, its end of that span. What
// is before stands for a time that is not known.
const (
	unknownTime = -1 << 62
	latestTime  = 1<<62 - 1
)

// packTime has the time in all bits but the lowest.
func packTime(t time.Time, archived bool) uint64 {
	ns := int64(unknownTime)
	switch seconds := t.Unix(); {
	case t.IsZero():
	case seconds >= latestTime/1_000_000_000:
		ns = latestTime
	case seconds <= -latestTime/1_000_000_000:
		ns = -latestTime
	default:
		ns = t.UnixNano()
	}
	packed := uint64(ns) << 1
	if archived {
		packed |= 1
	}
	return packed
}

func unpackTime(packed uint64) (time.Time, bool) {
	archived := packed&1 != 0
	ns := int64(packed) >> 1
	if ns == unknownTime {
		return time.Time{}, archived
	}
	return time.Unix(0, ns), archived
}
