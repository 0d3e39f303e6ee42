package workload

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// Mix is readers of one file, buffered: Sequential ones from evenly spaced starts,
// round and round, and Random ones from page borders. They go on for a time, or
// for so many Reads each, whose Latencies are reported then; Items is how many
// reads there were. Each has the bytes of the sequential readers first, then of
// the random ones.
type Mix struct {
	Path               string
	Sequential, Random int
	For                time.Duration
	Reads              int
	Seed               uint64

	buffers [][]byte
}

// The sizes of the mixed readers' reads: what dd and cp use, and what a reader
// of small tensors may.
const (
	mixSequentialRead = 1 << 20
	mixRandomRead     = 128 << 10
)

func (m *Mix) prepare(context.Context) (err error) {
	m.buffers, err = memories(m.Sequential+m.Random, mixSequentialRead)
	return err
}

func (m *Mix) run(ctx context.Context) (Result, error) {
	end := now() + m.For
	result := Result{Each: make([]int64, len(m.buffers))}
	latencies := make([][]time.Duration, len(m.buffers))
	err := threads(ctx, len(m.buffers), func(ctx context.Context, i int) error {
		f, err := Open(m.Path, Buffered)
		if err != nil {
			return err
		}
		defer f.close()
		next := m.pattern(i, f.Size)
		for ctx.Err() == nil {
			off, n := next()
			begin := now()
			if err := f.Fill(m.buffers[i][:n:n], off); err != nil {
				return err
			}
			result.Each[i] += n
			latencies[i] = append(latencies[i], now()-begin)
			if len(latencies[i]) == m.Reads || m.Reads == 0 && now() >= end { // so that each has read something
				return nil
			}
		}
		return ctx.Err()
	})
	all := slices.Concat(latencies...)
	for _, n := range result.Each {
		result.Bytes += n
	}
	if result.Items = int64(len(all)); m.Reads > 0 {
		result.Latencies = all
	}
	return result, err
}

// pattern returns where reader i reads, call by call.
func (m *Mix) pattern(i int, size int64) func() (off, n int64) {
	if i >= m.Sequential {
		random, pages := rand.New(rand.NewPCG(m.Seed+uint64(i), 0)), (size-mixRandomRead)/pageSize+1
		return func() (int64, int64) { return random.Int64N(pages) * pageSize, mixRandomRead }
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
