package workload

import (
	"context"
	"math/rand/v2"
	"os"
	"time"
)

// Random reads pages at random places of a file, buffered. Latencies are of
// each read, Items is their number.
type Random struct {
	Path    string
	Threads int
	// Reads are for all threads together, of Size bytes each.
	Reads, Size int
	Seed        uint64
}

func (r *Random) kind() string { return "random" }

func (r *Random) prepare(context.Context) (work, error) {
	buffers, err := memory(int64(r.Threads * r.Size))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Result, error) { return r.run(ctx, buffers) }, nil
}

func (r *Random) run(ctx context.Context, buffers []byte) (Result, error) {
	info, err := os.Stat(r.Path)
	if err != nil {
		return Result{}, err
	}
	latencies := make([]time.Duration, r.Reads)
	err = threads(ctx, r.Threads, func(ctx context.Context, i int) error {
		f, err := open(r.Path, Buffered, info.Size())
		if err != nil {
			return err
		}
		defer f.close()
		places := newPlaces(r.Seed+uint64(i), info.Size(), r.Size)
		buf := buffers[i*r.Size : (i+1)*r.Size : (i+1)*r.Size]
		for k := i; k < r.Reads && ctx.Err() == nil; k += r.Threads {
			begin := now()
			if err := preadFull(int(f.Fd()), buf, places.next()); err != nil {
				return err
			}
			latencies[k] = now() - begin
		}
		return ctx.Err()
	})
	return Result{Bytes: int64(r.Reads * r.Size), Items: int64(r.Reads), Latencies: latencies}, err
}

// places are random page borders from which a read stays in the file.
type places struct {
	random *rand.Rand
	pages  int64
}

func newPlaces(seed uint64, size int64, read int) places {
	return places{rand.New(rand.NewPCG(seed, 0)), (size-int64(read))/pageSize + 1}
}

func (p places) next() int64 { return p.random.Int64N(p.pages) * pageSize }

// Mix is readers of one file that go on for a time, buffered: Sequential ones
// from evenly spaced starts, round and round, and Random ones. Each has the
// bytes of the sequential readers first, then of the random ones.
type Mix struct {
	Path               string
	Sequential, Random int
	For                time.Duration
	Seed               uint64
}

// The sizes of the mixed readers' reads: what dd and cp use, and what a reader
// of small tensors may.
const (
	mixSequentialRead = 1 << 20
	mixRandomRead     = 128 << 10
)

func (m *Mix) kind() string { return "mix" }

func (m *Mix) prepare(context.Context) (work, error) {
	all, err := memory(int64(m.Sequential+m.Random) * mixSequentialRead)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Result, error) { return m.run(ctx, all) }, nil
}

func (m *Mix) run(ctx context.Context, buffers []byte) (Result, error) {
	info, err := os.Stat(m.Path)
	if err != nil {
		return Result{}, err
	}
	end := now() + m.For
	result := Result{Each: make([]int64, m.Sequential+m.Random)}
	err = threads(ctx, len(result.Each), func(ctx context.Context, i int) error {
		f, err := open(m.Path, Buffered, info.Size())
		if err != nil {
			return err
		}
		defer f.close()
		next := m.pattern(i, info.Size())
		buf := buffers[i*mixSequentialRead : (i+1)*mixSequentialRead]
		for ctx.Err() == nil {
			off, n := next()
			if err := preadFull(int(f.Fd()), buf[:n], off); err != nil {
				return err
			}
			result.Each[i] += n
			if now() >= end { // so that each has read something
				return nil
			}
		}
		return ctx.Err()
	})
	for _, n := range result.Each {
		result.Bytes += n
	}
	return result, err
}

// pattern returns where reader i reads, call by call.
func (m *Mix) pattern(i int, size int64) func() (off, n int64) {
	if i >= m.Sequential {
		places := newPlaces(m.Seed+uint64(i), size, mixRandomRead)
		return func() (int64, int64) { return places.next(), mixRandomRead }
	}
	next := size * int64(i) / int64(m.Sequential) / mixSequentialRead * mixSequentialRead
	return func() (off, n int64) {
		off = next
		n = min(mixSequentialRead, size-off)
		if next += n; next == size {
			next = 0
		}
		return off, n
	}
}
