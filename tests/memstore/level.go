package memstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"sync"

	"weightfs/remote"
)

// Level is a [remote.Level] of blocks in memory.
type Level struct {
	block int64

	mu     sync.Mutex
	blocks map[place][]byte // guarded by mu
	breaks int64            // guarded by mu; after so many bytes each body breaks, 0: never
}

// place is a block of an object version.
type place struct {
	key, version string
	off          int64
}

// NewLevel makes an empty level of blocks of a size.
func NewLevel(block int64) *Level { return &Level{block: block, blocks: map[place][]byte{}} }

// Len is how many blocks the level has.
func (l *Level) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.blocks)
}

// Lose has the level lose the blocks at these offsets.
func (l *Level) Lose(lost func(off int64) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.blocks, func(p place, _ []byte) bool { return lost(p.off) })
}

// Break has each body of the level break after n bytes.
func (l *Level) Break(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaks = n
}

// Get implements remote.Level.
func (l *Level) Get(_ context.Context, obj remote.Object, off, n int64) io.ReadCloser {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := off - off%l.block
	data, ok := l.blocks[place{obj.Key, obj.Version, start}]
	if !ok || off-start+n > int64(len(data)) {
		return nil
	}
	data = data[off-start:][:n]
	if l.breaks == 0 || l.breaks >= n {
		return io.NopCloser(bytes.NewReader(data))
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(data[:l.breaks]), broken{}))
}

// broken is the end of a body that breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the level broke") }

// Put implements remote.Level.
func (l *Level) Put(_ context.Context, obj remote.Object, off, n int64) io.WriteCloser {
	return &incoming{level: l, place: place{obj.Key, obj.Version, off}, size: n}
}

// incoming is a block that is being put.
type incoming struct {
	bytes.Buffer
	level *Level
	place place
	size  int64
}

func (b *incoming) Close() error {
	b.level.mu.Lock()
	defer b.level.mu.Unlock()
	if int64(b.Len()) == b.size {
		b.level.blocks[b.place] = b.Bytes()
	}
	return nil
}
