package gpuload

import (
	"context"
	"fmt"
	"io"

	"weightfs/remote"
)

// blob is where one file's bytes come from. It is safe for concurrent use, and
// every read is of the version that was opened: remote.ErrChanged if that is
// gone.
type blob interface {
	// read starts reading [off, off+n) in pieces; off is a multiple of pageSize.
	read(ctx context.Context, off, n int64) (body, error)
	// stream reads [off, off+n) for whoever is in no hurry: headers and digests.
	stream(ctx context.Context, off, n int64) (io.ReadCloser, error)
	// piece is the most bytes that one next of a read gains from.
	piece() int64
	// inMemory says that the bytes come at memory speed.
	inMemory() bool
	// readers is how many reads at a time are best.
	readers() int
	// joins says that one read of much costs less than several of it.
	joins() bool
	Close() error
}

// body is a read under way; one goroutine uses it.
type body interface {
	// next fills buf[:n] with the next n bytes. buf is staging, which begins at
	// a multiple of pageSize, and has room for n rounded up to one. Every n but
	// the last is a multiple of pageSize.
	next(buf []byte, n int) error
	// splits says that a large next is answered by several transfers at once.
	splits() bool
	Close() error
}

// objectBlob is an object of a store.
type objectBlob struct {
	store  remote.Store
	object remote.Object
}

func (o *objectBlob) read(ctx context.Context, off, n int64) (body, error) {
	r, err := o.store.OpenRange(ctx, o.object, off, n)
	if err != nil {
		return nil, err
	}
	return objectBody{r}, nil
}

func (o *objectBlob) stream(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return o.store.OpenRange(ctx, o.object, off, n)
}

func (o *objectBlob) piece() int64 { return hotPiece }

func (o *objectBlob) inMemory() bool { return false }

func (o *objectBlob) readers() int { return storeReaders }

func (o *objectBlob) joins() bool { return true }

func (o *objectBlob) Close() error { return nil }

// objectBody reads straight from the store's connection into staging.
type objectBody struct{ io.ReadCloser }

func (b objectBody) splits() bool { return false }

func (b objectBody) next(buf []byte, n int) error {
	read, err := io.ReadFull(b, buf[:n])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", read, n, err)
	}
	return nil
}
