//go:build !race

// The race detector keeps several bytes for each byte of an arena: these loads of
// gigabytes are for builds without it.

package prefetch

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weightfs/prefetch/stream"
	"weightfs/remote"
	"weightfs/tests/rig"
)

// shapedStore is a distant store in virtual time: each GET waits for its first
// byte, each connection and all together have a rate. Its bytes are zeros.
type shapedStore struct {
	remote.Store // nil: nothing else is asked of it
	firstByte    time.Duration
	rig.Line

	mu        sync.Mutex
	fetched   int64
	gets      int
	cancelled int // GETs
}

// newShapedStore makes a store of such connections and such a line, in bytes per
// second.
func newShapedStore(firstByte time.Duration, perConnection, total float64) *shapedStore {
	return &shapedStore{firstByte: firstByte, Line: rig.Line{PerConnection: perConnection, Total: total}}
}

func distant() *shapedStore {
	return newShapedStore(30*time.Millisecond, 40e6, 500e6)
}

// near is a store on the same machine.
func near() *shapedStore {
	return newShapedStore(time.Millisecond, 2.5e9, 2.5e9)
}

func (s *shapedStore) OpenRange(ctx context.Context, _ remote.Object, _, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	if err := sleep(ctx, s.firstByte); err != nil {
		return nil, err
	}
	return io.NopCloser(&shapedBody{ctx: ctx, store: s, left: n}), nil
}

type shapedBody struct {
	ctx   context.Context
	store *shapedStore
	left  int64
}

func (b *shapedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(b.left, int64(len(p)), 64<<10)
	b.store.mu.Lock()
	b.store.fetched += n
	b.store.mu.Unlock()
	if err := sleep(b.ctx, b.store.Take(n)); err != nil {
		b.store.mu.Lock()
		b.store.cancelled++
		b.store.mu.Unlock()
		return 0, err
	}
	b.left -= n
	clear(p[:n])
	return int(n), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var zeros = make([]byte, MaxView)

// consume reads [lo, hi) in steps of n bytes, depth of them at a time, as the
// kernel's readahead does.
func consume(t *testing.T, r *Reader, lo, hi int64, n, depth int) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, depth)
	for off := lo; off < hi; off += int64(n) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			v, err := r.View(t.Context(), off, int(min(int64(n), hi-off)))
			if err != nil {
				t.Error(err)
				return
			}
			defer v.Release()
			for _, p := range v.Slices() {
				if !bytes.Equal(p, zeros[:len(p)]) {
					t.Error("wrong bytes")
				}
			}
		})
	}
	wg.Wait()
}

// rate runs load in virtual time and returns bytes per second of wall time.
func rate(bytes int64, load func()) float64 {
	began := time.Now()
	load()
	return float64(bytes) / time.Since(began).Seconds()
}

// median is that of values, which must not be empty.
func median[T cmp.Ordered](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

const gib = 1 << 30

// One reader, sixteen of one file, four files at once: each fills the line, in the
// median of five loads. A load ends when its last GET does, alone on a connection
// of 40 MB/s: which reader has it, and how late it began, is chance, and three in a
// hundred loads by eight readers have 0.92 of the line for it, and not 0.96.
func TestReadersFillTheLine(t *testing.T) {
	for _, tc := range []struct {
		name           string
		files, readers int
		size           int64
		depth          int
		memory         int64
		least          float64 // of the line
	}{
		{"one reader", 1, 1, 2 * gib, 4, 4 * gib, 0.93},
		{"one reader, one request at a time", 1, 1, 2 * gib, 1, 4 * gib, 0.93},
		{"one reader, 256 MiB", 1, 1, 2 * gib, 4, 256 * mib, 0.93},
		{"sixteen readers", 1, 16, 2 * gib, 2, 4 * gib, 0.93},
		{"four files", 4, 1, gib / 2, 4, 4 * gib, 0.93},
		{"sixteen readers, 256 MiB", 1, 16, gib, 2, 256 * mib, 0.93},
		{"eight readers, 256 MiB", 1, 8, gib, 1, 256 * mib, 0.93},
		{"one reader, 64 MiB", 1, 1, gib, 4, 64 * mib, 0.5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rates := make([]float64, 5)
			for i := range rates {
				synctest.Test(t, func(t *testing.T) {
					store := distant()
					c := newCache(t, store, Config{MemoryLimit: tc.memory})
					size := tc.size * int64(tc.files)
					rates[i] = rate(size, func() { readShares(t, c, tc.files, tc.readers, tc.size, tc.depth) }) / store.Total
					s := c.Stats()
					t.Logf("%.3f of the line, %.3f of the size fetched, %d GETs, %d streams, concurrency %d",
						rates[i], float64(store.fetched)/float64(size), store.gets, s.Streams, s.Concurrency)
					if most := int(size / (2 * mib)); store.gets > most {
						t.Errorf("%d GETs, want at most %d", store.gets, most)
					}
					if store.fetched > size*102/100 {
						t.Errorf("fetched %.3f of the size", float64(store.fetched)/float64(size))
					}
				})
			}
			if got := median(rates); got < tc.least {
				t.Errorf("%.3f of the line, want %.2f", got, tc.least)
			}
		})
	}
}

// A store whose connections are fast is asked for few large parts, since each GET
// is work for both sides; one whose first bytes alone come fast is not taken for
// such a one. As in every load, the header is read first.
func TestFewGETsFromANearStore(t *testing.T) {
	for _, tc := range []struct {
		name        string
		store       *shapedStore
		readers     int
		least       float64 // of the line
		fewest, top int     // GETs
	}{
		{"one machine", near(), 1, 0.95, 45, 90},
		{"one machine, eight readers", near(), 8, 0.95, 60, 140},
		{"one rack", newShapedStore(time.Millisecond, 1.2e9, 5e9), 1, 0.9, 45, 90},
		{"near, slow connections", newShapedStore(time.Millisecond, 40e6, 500e6), 1, 0.93, 170, 350},
		{"distant", distant(), 1, 0.9, 170, 350},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, tc.store, Config{MemoryLimit: 4 * gib})
				r := c.Open(remote.Object{Key: "a", Size: gib, Version: "1"})
				consume(t, r, 0, stream.FirstFetch, 16<<10, 1)
				r.Close()
				got := rate(gib, func() { readShares(t, c, 1, tc.readers, gib, 4) })
				t.Logf("%.3f of the line, %d GETs", got/tc.store.Total, tc.store.gets)
				if got < tc.least*tc.store.Total {
					t.Errorf("%.3f of the line, want %.2f", got/tc.store.Total, tc.least)
				}
				if gets := tc.store.gets; gets < tc.fewest || gets > tc.top {
					t.Errorf("%d GETs, want %d to %d", gets, tc.fewest, tc.top)
				}
			})
		})
	}
}

// readShares reads files of a size at once, each by readers of equal shares.
func readShares(t *testing.T, c *Cache, files, readers int, size int64, depth int) {
	var wg sync.WaitGroup
	for f := range files {
		obj := remote.Object{Key: string(rune('a' + f)), Size: size, Version: "1"}
		for i := range int64(readers) {
			wg.Go(func() {
				r := c.Open(obj)
				defer r.Close()
				share := size / int64(readers)
				consume(t, r, i*share, (i+1)*share, mib, depth)
			})
		}
	}
	wg.Wait()
}
