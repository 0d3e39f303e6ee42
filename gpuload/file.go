package gpuload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"weightfs/gpuload/safetensors"
)

// headerProbe is how much of a file is read at first: most headers whole, at
// the price of one request.
const headerProbe = 128 << 10

// File is one safetensors file of a [Source], opened: what is read of it is of
// the version found then, or an error. Safe for concurrent use.
type File struct {
	name     string
	path     string
	size     int64
	blob     blob
	argument int

	headers *headerBudget       // of all files of its folder
	parsing chan struct{}       // holds the token of whoever reads the header
	header  *safetensors.Header // guarded by parsing's token; nil until parsed
	failure headerFailure       // guarded by parsing's token
}

// headerFailure is how reading the header ended the last time.
type headerFailure struct {
	err error
	at  time.Time
}

func newFile(name, path string, size int64, b blob) *File {
	return &File{name: name, path: path, size: size, blob: b, headers: newHeaderBudget(), parsing: make(chan struct{}, 1)}
}

// Name is the file's name within its folder.
func (f *File) Name() string { return f.name }

// Argument is which of OpenSource's arguments the file is of, from 0: two may
// have files of equal names.
func (f *File) Argument() int { return f.argument }

// Path is the whole path or URI, for messages.
func (f *File) Path() string { return f.path }

// Size is in bytes.
func (f *File) Size() int64 { return f.size }

// Header returns the parsed header. It is read once, by the first caller, for
// whom the others wait, each as long as its ctx lasts. They get its failure too,
// but for one of its own ctx; who comes later tries again.
func (f *File) Header(ctx context.Context) (*safetensors.Header, error) {
	began := time.Now()
	select {
	case f.parsing <- struct{}{}:
		defer func() { <-f.parsing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("read header of %s: %w", f.path, ctx.Err())
	}
	if f.header != nil {
		return f.header, nil
	}
	if f.failure.at.After(began) {
		return nil, f.failure.err
	}
	// select may take the token although ctx is over, and a read of a path that
	// has begun cannot be cancelled.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("read header of %s: %w", f.path, ctx.Err())
	}
	h, err := f.readHeader(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.failure = headerFailure{err, time.Now()}
		}
		return nil, err
	}
	f.header = h
	return h, nil
}

func (f *File) readHeader(ctx context.Context) (h *safetensors.Header, err error) {
	probe, err := f.fetch(ctx, nil, min(f.size, headerProbe))
	if err != nil {
		return nil, err
	}
	n, err := safetensors.HeaderLen(f.path, probe, f.size)
	if err != nil {
		return nil, err
	}
	if err := f.headers.begin(ctx, f.path, n); err != nil {
		return nil, err
	}
	defer func() { f.headers.end(n, err == nil) }()
	end := safetensors.PrefixBytes + n
	if probe, err = f.fetch(ctx, probe, end); err != nil {
		return nil, err
	}
	return safetensors.Parse(f.path, probe[safetensors.PrefixBytes:end], f.size)
}

// fetch extends got, the first bytes of the file, to the first n.
func (f *File) fetch(ctx context.Context, got []byte, n int64) ([]byte, error) {
	begin := int64(len(got))
	if begin >= n {
		return got, nil
	}
	r, err := f.Open(ctx, begin, n-begin)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all := append(make([]byte, 0, n), got...)[:n]
	if _, err := io.ReadFull(r, all[begin:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read header of %s [%d,%d): %w", f.path, begin, n, err)
	}
	return all, nil
}

// Open streams the bytes [off, off+n): exactly those, or an error that is not
// io.EOF. The caller closes the stream.
func (f *File) Open(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	r, err := f.blob.stream(ctx, off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s [%d,%d): %w", f.path, off, off+n, err)
	}
	return r, nil
}
