package arena

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// MaxBlocks is how many blocks a Lease may have.
const MaxBlocks = 5

// booksPerFrame is the resident memory of the records and the index for each
// frame, if all of them are split into medium blocks.
const booksPerFrame = recordSize + 4 + 4 + 8*recordSize

// ErrClosed says that the arena was closed.
var ErrClosed = errors.New("arena: closed")

// Number names an object in the arena.
type Number uint32

// Owner is what eviction asks about an object's streams.
type Owner interface {
	// Needs says whether a stream that was read since oldest will come to off.
	// It is called with the arena's lock held.
	Needs(off int64, oldest uint64) bool
}

// object is what the arena knows of an object.
type object struct {
	owner    Owner
	size     int64
	identity uint64 // the same when it is known anew
	blocks   int32
	unread   int32 // blocks in the list unread
	tail     id    // the last block if it is not a large one: such are not in the index
	open     bool  // what is fetched of it will be read
}

// Arena is the memory. Safe for concurrent use.
type Arena struct {
	memory  []byte // of mapped
	mapped  memory
	books   memory   // of records, heads and ghosts
	records []record // by id
	heads   []id     // of the chains of large blocks, by hash
	ghosts  ghosts
	frames  id // how many

	clock atomic.Uint64 // bytes landed so far; written with mu held
	room  atomic.Bool   // speculation that found none may find some
	empty atomic.Bool   // emptied has entries

	keepers atomic.Int64 // calls of Keep; see giving
	giving  sync.Mutex   // held while memory is given back; before mu

	mu         sync.Mutex
	objects    []object
	numbers    []Number // of objects that were forgotten
	lists      [lists]list
	fresh      id           // frames up to here were used
	touched    id           // frames up to here are resident, or soon will be
	free       int          // frames
	cold       int          // free frames that were used and are not resident
	idleFrames int          // frames whose blocks are all idle
	idle       [classes]int // idle blocks of the split classes
	inflight   int64        // units of blocks that are written
	used       int64        // units of all blocks
	leases     int
	evictions  int64
	waiters    []*Ticket
	emptied    []Owner // objects whose last block was evicted
	short      bool    // speculation found no room
	closed     bool
}

// New reserves an arena within size bytes. Its pages become resident when they
// are first written.
func New(size int64) (*Arena, error) { return newOn(private, size, nil) }

// NewShared is New in memory that other processes can map ([Arena.Shared]), of files
// that makeFiles makes, as [MakeShared] does. The error says why there is none.
func NewShared(size int64, makeFiles func(size int64) (Shared, error)) (*Arena, error) {
	return newOn(shareable, size, makeFiles)
}

func newOn(kind kind, size int64, makeFiles func(size int64) (Shared, error)) (*Arena, error) {
	frames := size / BlockSize
	frames -= frames * booksPerFrame / BlockSize
	mapped, err := reserve(frames*BlockSize, kind, makeFiles)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of cache memory: %w", frames*BlockSize, err)
	}
	count, heads := 1+73*frames, powerOfTwo(frames)
	sets := max(powerOfTwo(frames)/4, 1)
	books, err := reserve(count*recordSize+heads*4+sets*16, records, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reserve the records of cache memory: %w", err), mapped.free())
	}
	at := func(offset int64) unsafe.Pointer { return unsafe.Pointer(&books.bytes[offset]) }
	return &Arena{
		memory:  mapped.bytes,
		mapped:  mapped,
		books:   books,
		records: unsafe.Slice((*record)(at(0)), count),
		heads:   unsafe.Slice((*id)(at(count*recordSize)), heads),
		ghosts:  unsafe.Slice((*[8]uint16)(at(count*recordSize+heads*4)), sets),
		frames:  id(frames),
		free:    int(frames),
		objects: make([]object, 1), // number 0 is nobody's
	}, nil
}

// powerOfTwo is the largest one up to n.
func powerOfTwo(n int64) int64 { return 1 << (bits.Len64(uint64(n)) - 1) }

// Blocks is how many blocks of BlockSize the arena holds.
func (a *Arena) Blocks() int64 { return int64(a.frames) }

// Clock is how many bytes have landed so far.
func (a *Arena) Clock() uint64 { return a.clock.Load() }

// Close ends the arena: Leases and Claims fail from then on. Its memory goes back
// to the node, unless there are leases: then the error says how many.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.leases > 0 {
		return fmt.Errorf("%d leases were not released", a.leases)
	}
	mapped, books := a.mapped, a.books
	a.mapped, a.books = memory{}, memory{}
	a.memory, a.records, a.heads, a.ghosts = nil, nil, nil, nil
	return errors.Join(mapped.free(), books.free())
}

// Add makes an object known, of so many bytes. Its identity is a hash, the same
// whenever it is made known.
func (a *Arena) Add(owner Owner, size int64, identity uint64) Number {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := object{owner: owner, size: size, identity: identity}
	if n := len(a.numbers); n > 0 {
		number := a.numbers[n-1]
		a.numbers = a.numbers[:n-1]
		a.objects[number] = o
		return number
	}
	a.objects = append(a.objects, o)
	return Number(len(a.objects) - 1)
}

// Remove forgets an object that has no blocks; false says that it has.
func (a *Arena) Remove(n Number) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects[n].blocks > 0 {
		return false
	}
	a.objects[n] = object{}
	a.numbers = append(a.numbers, n)
	return true
}

// SetOpen says whether what is fetched of an object will be read. Once it is not,
// what was fetched ahead counts as read, long ago.
func (a *Arena) SetOpen(n Number, open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	o := &a.objects[n]
	o.open = open
	for index := uint32(0); !open && o.unread > 0 && int64(index)*BlockSize < o.size; index++ {
		if i := a.find(n, index); i != 0 && a.records[i].list == unread {
			a.leaveUnread(i)
			a.pushBack(once, i)
		}
	}
}

// Emptied are the objects whose last block was evicted since the last call.
func (a *Arena) Emptied() []Owner {
	if !a.empty.Load() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	emptied := a.emptied
	a.emptied = nil
	a.empty.Store(false)
	return emptied
}

// TakeRoom says, once, that speculation which found no room may find some.
func (a *Arena) TakeRoom() bool { return a.room.Load() && a.room.CompareAndSwap(true, false) }

// Stats are gauges; blocks are of BlockSize.
type Stats struct {
	Retained, Unread, InFlight, Free int64
	Resident                         int64 // frames
	Leases, Evictions                int64
}

// Stats returns a snapshot.
func (a *Arena) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	const up = BlockSize/ChunkSize - 1
	s := Stats{
		Retained:  (a.lists[once].units + a.lists[again].units) / classUnits[large],
		Unread:    a.lists[unread].units / classUnits[large],
		InFlight:  (a.inflight + up) / classUnits[large],
		Resident:  int64(a.resident()),
		Leases:    int64(a.leases),
		Evictions: a.evictions,
	}
	leased := (a.used - a.inflight - a.lists[once].units - a.lists[again].units - a.lists[unread].units + up) / classUnits[large]
	s.Free = max(int64(a.frames)-s.Retained-s.Unread-s.InFlight-leased, 0)
	return s
}

// find is the block of an object, 0 if there is none.
func (a *Arena) find(n Number, index uint32) id {
	o := &a.objects[n]
	if o.class(index) != large {
		return o.tail
	}
	for i := a.heads[a.hash(n, index)]; i != 0; i = a.records[i].chain {
		if r := &a.records[i]; r.index == index && r.object == n {
			return i
		}
	}
	return 0
}

func (a *Arena) hash(n Number, index uint32) uint64 {
	h := (uint64(n)<<32 | uint64(index)) * 0x9E3779B97F4A7C15 // golden ratio: spreads neighbours
	return h >> 32 & uint64(len(a.heads)-1)
}

// class is that of an object's block.
func (o *object) class(index uint32) int {
	return classOf(min(o.size-int64(index)*BlockSize, BlockSize))
}

// create takes memory for a block that an object has not. The caller has made
// sure that there is some, and holds the block before anything else happens.
func (a *Arena) create(n Number, index uint32) id {
	o := &a.objects[n]
	class := o.class(index)
	var i id
	if class != large {
		i = a.takePlace(class)
		o.tail = i
	} else {
		near := id(0)
		if index > 0 {
			near = a.find(n, index-1)
		}
		i = a.takeFrame(near)
	}
	o.blocks++
	a.used += classUnits[class]
	r := &a.records[i]
	*r = record{object: n, index: index}
	if class == large {
		head := &a.heads[a.hash(n, index)]
		r.chain, *head = *head, i
		r.again = a.ghosts.take(a.ghostKey(n, index))
	}
	return i
}

// evict takes an idle block's memory back.
func (a *Arena) evict(i id) {
	r := &a.records[i]
	n, index := r.object, r.index
	o := &a.objects[n]
	class, frame, part := a.place(i)
	switch r.list {
	case unread:
		a.leaveUnread(i)
	case once:
		if class == large && r.read != 0 {
			a.ghosts.add(a.ghostKey(n, index))
		}
		a.unlink(i)
	case again:
		a.unlink(i)
	}
	a.used -= classUnits[class]
	a.evictions++
	if class == large {
		at := &a.heads[a.hash(n, index)]
		for *at != i {
			at = &a.records[*at].chain
		}
		*at = r.chain
		a.idleFrames--
		a.freeFrame(i)
	} else {
		o.tail = 0
		a.idle[class]--
		a.freePlace(class, frame, part)
	}
	if o.blocks--; o.blocks == 0 {
		a.emptied = append(a.emptied, o.owner)
		a.empty.Store(true)
	}
}

func (a *Arena) leaveUnread(i id) {
	a.objects[a.records[i].object].unread--
	a.unlink(i)
	a.makesRoom()
}

// hold takes an idle block out of the reach of eviction.
func (a *Arena) hold(i id) {
	switch a.records[i].list {
	case noList:
		return
	case unread:
		a.leaveUnread(i)
	default:
		a.unlink(i)
	}
	a.pin(i)
}

// rest puts a block that nobody holds any more where eviction finds it.
func (a *Arena) rest(i id) {
	r := &a.records[i]
	if !r.idle() {
		return
	}
	a.unpin(i)
	o := &a.objects[r.object]
	switch {
	case r.have == 0:
		a.evict(i)
	case r.consumed(), r.read != 0 && !a.needed(r, BlockSize-1, ActiveBytes):
		// What was read of it by nobody's stream, a header of which a megabyte was
		// fetched or a small read, was served: it does not count as fetched ahead.
		a.pushFront(r.retainedList(), i)
	case !o.open:
		a.pushBack(once, i)
	default:
		r.landed = a.mebibytes()
		o.unread++
		if r.read != 0 {
			a.pushBack(unread, i) // a stream is in the middle of it
		} else {
			a.pushFront(unread, i)
		}
	}
	a.makesRoom()
}

// makesRoom notes that speculation may find room.
func (a *Arena) makesRoom() {
	if a.short {
		a.short = false
		a.room.Store(true)
	}
}

// mebibytes is the clock in MiB.
func (a *Arena) mebibytes() uint32 { return uint32(a.clock.Load() >> 20) }

// needed says whether a stream that was read while the last within bytes were
// fetched will come to the offset in the block.
func (a *Arena) needed(r *record, off int64, within uint64) bool {
	clock := a.clock.Load()
	return a.objects[r.object].owner.Needs(int64(r.index)*BlockSize+off, clock-min(clock, within))
}

// span calls visit for each block that [off, end) touches, with the chunks of it,
// until visit returns false. i is 0 where there is none.
func (a *Arena) span(n Number, off, end int64, visit func(index uint32, i id, touched chunks) bool) {
	for base := roundDown(off, BlockSize); base < end; base += BlockSize {
		index := uint32(base / BlockSize)
		if !visit(index, a.find(n, index), chunksTouching(max(off-base, 0), min(end-base, BlockSize))) {
			return
		}
	}
}
