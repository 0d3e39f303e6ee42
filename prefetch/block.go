package prefetch

// block is the cached part of one MiB of one object version. Guarded by the
// cache's lock, but for the memory of chunks: a claimed chunk is written by the
// one flight that claimed it, without the lock; a chunk in have is never
// written again until the block went back to the arena.
type block struct {
	file  *file
	index int64 // offset in the object / blockSize
	id    uint64
	slot  int32

	have    chunks // landed, readable
	claimed chunks // being fetched by a flight
	read    chunks // served to a reader at least once

	writers int // flights that still claim a chunk
	leases  int // Views that hold the block

	fetchedAt  uint64 // the cache's clock when it came to rest unread
	list       *blockList
	prev, next *block
}

// idle says that nobody holds the block: it lies in one of the lists from
// which memory is taken.
func (b *block) idle() bool { return b.writers == 0 && b.leases == 0 }

// consumed says that everything that was fetched has been served.
func (b *block) consumed() bool { return b.read.has(b.have) }

// blockList is an intrusive doubly linked list: front is the newest.
type blockList struct {
	front, back *block
	len         int
}

func (l *blockList) pushFront(b *block) {
	b.list, b.prev, b.next = l, nil, l.front
	if l.front != nil {
		l.front.prev = b
	} else {
		l.back = b
	}
	l.front = b
	l.len++
}

func (l *blockList) pushBack(b *block) {
	b.list, b.prev, b.next = l, l.back, nil
	if l.back != nil {
		l.back.next = b
	} else {
		l.front = b
	}
	l.back = b
	l.len++
}

// unlink takes the block out of whatever list it is in.
func (b *block) unlink() {
	l := b.list
	if l == nil {
		return
	}
	if b.prev != nil {
		b.prev.next = b.next
	} else {
		l.front = b.next
	}
	if b.next != nil {
		b.next.prev = b.prev
	} else {
		l.back = b.prev
	}
	b.list, b.prev, b.next = nil, nil, nil
	l.len--
}
