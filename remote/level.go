package remote

import (
	"context"
	"io"
	"os"
)

// Level keeps blocks of object versions nearer than their store: on a disk, or
// with a neighbour. It is safe for concurrent use. What it has it may lose at any
// time, and it has no errors: what fails, it does not have.
type Level interface {
	// Get opens bytes [off, off+n) of that very version, which lie in one block;
	// nil if it does not have all of them. The caller closes the body. Both must be
	// quick to say no: the store is asked afterwards, and nobody else keeps the time.
	Get(ctx context.Context, obj Object, off, n int64) io.ReadCloser
	// Put begins to take the block [off, off+n) of that version; nil if it is not
	// wanted. Its bytes are written in order, from memory that is the writer's, and
	// Close ends it: with fewer than n bytes there is no such block.
	Put(ctx context.Context, obj Object, off, n int64) io.WriteCloser
}

// WithLevel returns store with a level before it: ranges are cut at multiples of
// block, the level is asked for each piece, and what it lacks is read from the
// store, by one request for all pieces in a row, and put into the level, whole
// blocks alone. A reader notices the level's failures as time. The level stays
// the caller's.
func WithLevel(store Store, level Level, block int64) Store {
	return &leveled{Store: store, level: level, block: block}
}

// leveled is a store with a level before it.
type leveled struct {
	Store
	level Level
	block int64
}

// OpenRange implements [Store].
func (s *leveled) OpenRange(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off > obj.Size-n || obj.Archived {
		return s.Store.OpenRange(ctx, obj, off, n) // which has its own word on it
	}
	b := &leveledBody{store: s, ctx: ctx, obj: obj, pos: off, end: off + n}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// leveledBody is a range of which some pieces are read from the level, and the
// others from the store.
type leveledBody struct {
	store    *leveled
	ctx      context.Context // of OpenRange
	obj      Object
	pos, end int64

	source io.ReadCloser  // of the bytes up to until; nil between two
	until  int64          // the end of a piece
	near   bool           // source is the level's
	next   io.ReadCloser  // the level's piece at until; nil if it is not known to have one
	failed int64          // up to here the level is not asked again
	put    io.WriteCloser // takes the block at pos; nil while none is taken
	final  error          // sticky
}

// pieceEnd is where the piece ends that off lies in.
func (b *leveledBody) pieceEnd(off int64) int64 {
	return min(off-off%b.store.block+b.store.block, b.end)
}

// get asks the level for the piece from off on.
func (b *leveledBody) get(off int64) io.ReadCloser {
	return b.store.level.Get(b.ctx, b.obj, off, b.pieceEnd(off)-off)
}

// open opens the source of the bytes from pos on: the level for a piece that it
// has, or else the store for all pieces before the next such one.
func (b *leveledBody) open() (err error) {
	b.source, b.next, b.until = b.next, nil, b.pieceEnd(b.pos)
	if b.source == nil && b.pos >= b.failed {
		b.source = b.get(b.pos)
	}
	if b.near = b.source != nil; b.near {
		return nil
	}
	for ; b.until < b.end; b.until = b.pieceEnd(b.until) {
		if b.next = b.get(b.until); b.next != nil {
			break
		}
	}
	b.source, err = b.store.Store.OpenRange(b.ctx, b.obj, b.pos, b.until-b.pos)
	if err != nil {
		b.source = nil
		b.Close()
		b.final = err
	}
	return err
}

// Read goes straight to the source.
func (b *leveledBody) Read(p []byte) (int, error) {
	for b.final == nil && b.pos < b.end && len(p) > 0 {
		if b.source == nil {
			if err := b.open(); err != nil {
				return 0, err
			}
		}
		if size := min(b.store.block, b.obj.Size-b.pos); !b.near && b.put == nil && b.pos%b.store.block == 0 && b.pos+size <= b.until {
			b.put = b.store.level.Put(b.ctx, b.obj, b.pos, size)
		}
		n, err := b.source.Read(p[:min(int64(len(p)), b.pieceEnd(b.pos)-b.pos)])
		b.took(p[:n])
		switch {
		case b.pos == b.until:
			b.source.Close()
			b.source, err = nil, nil
		case err != nil && b.near:
			b.source.Close()
			b.source, b.failed, err = nil, b.until, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	if b.pos == b.end {
		return 0, io.EOF
	}
	return 0, b.final
}

// took accounts for the bytes at pos, and puts them into the level.
func (b *leveledBody) took(p []byte) {
	b.pos += int64(len(p))
	if b.put == nil {
		return
	}
	_, err := b.put.Write(p)
	if err != nil || b.pos == b.pieceEnd(b.pos-1) {
		b.endPut()
	}
}

func (b *leveledBody) endPut() {
	if b.put != nil {
		b.put.Close()
		b.put = nil
	}
}

// Close implements [io.Closer].
func (b *leveledBody) Close() (err error) {
	b.endPut()
	if b.next != nil {
		b.next.Close()
	}
	if b.source != nil {
		err = b.source.Close()
	}
	b.source, b.next, b.final = nil, nil, os.ErrClosed
	return err
}
