package manifest

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// This file reads and hashes bytes, wherever they lie. What an entry says, and
// where its bytes are, is digest.go's.

// placed is an entry and where its bytes begin in a file or an allocation.
type placed struct {
	*Entry
	at int64
}

func (p placed) end() int64 { return p.at + p.NBytes }

// opener streams the bytes [off, off+n) of a file or an allocation.
type opener func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// run is entries that follow each other and are read in one stream.
type run struct {
	entries []placed
	open    opener
	from    string // for errors
}

// split divides the entries of a file or an allocation, in their order there,
// into runs of about runBytes.
func split(entries []placed, open opener, from string) []run {
	var runs []run
	begin := 0
	for i, e := range entries {
		if e.end()-entries[begin].at >= runBytes || i == len(entries)-1 {
			runs = append(runs, run{entries[begin : i+1], open, from})
			begin = i + 1
		}
	}
	return runs
}

// digest fills in the digests of all entries of the runs.
func digest(ctx context.Context, runs []run, cfg Config) error {
	count, size := cfg.buffers(runtime.GOMAXPROCS(0))
	idle := make(chan []byte, count)
	for range count {
		idle <- nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(count) // as many as there are buffers: none is waited for
	for _, r := range runs {
		g.Go(func() error {
			buf := <-idle
			if buf == nil {
				buf = make([]byte, size)
			}
			defer func() { idle <- buf }()
			return r.digest(ctx, cfg.Hash, buf)
		})
	}
	return g.Wait()
}

// digest reads the run by way of buf and fills in the digests.
func (r run) digest(ctx context.Context, h Hash, buf []byte) error {
	pos, end := r.entries[0].at, r.entries[len(r.entries)-1].end()
	in := &reader{ctx: ctx, buf: buf, left: end - pos}
	if in.left > 0 {
		body, err := r.open(ctx, pos, in.left)
		if err != nil {
			return err
		}
		defer body.Close()
		in.body = body
	}
	for _, e := range r.entries {
		sum := h.new()
		err := in.next(e.at-pos, io.Discard)
		if err == nil {
			err = in.next(e.NBytes, sum)
		}
		if err != nil {
			return fmt.Errorf("read tensor %q %s: %w", e.Name, r.from, err)
		}
		pos = e.end()
		e.Digest = h.String() + ":" + hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

// reader reads all that is left of a body, by whole buffers.
type reader struct {
	ctx  context.Context
	body io.Reader
	left int64 // in body
	buf  []byte
	got  []byte // of buf: read and not taken yet
}

// next writes the next n bytes to w, which never fails.
func (r *reader) next(n int64, w io.Writer) error {
	for n > 0 {
		if len(r.got) == 0 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			r.got = r.buf[:min(r.left, int64(len(r.buf)))]
			if _, err := io.ReadFull(r.body, r.got); err != nil {
				return err
			}
			r.left -= int64(len(r.got))
		}
		taken := r.got[:min(n, int64(len(r.got)))]
		_, _ = w.Write(taken)
		r.got = r.got[len(taken):]
		n -= int64(len(taken))
	}
	return nil
}
