package prefetch

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"testing"

	"weightfs/remote"
)

// benchStore answers each GET at once with bytes that nobody looks at.
type benchStore struct {
	remote.Store // nil: nothing else is asked of it
}

func (benchStore) OpenRange(_ context.Context, _ remote.Object, _, n int64) (io.ReadCloser, error) {
	return io.NopCloser(&benchBody{n}), nil
}

type benchBody struct{ left int64 }

func (b *benchBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(b.left, int64(len(p)))
	b.left -= n
	return int(n), nil
}

// lockWait is the time that goroutines have waited for mutexes so far, in seconds.
func lockWait() float64 {
	sample := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// cpuTime is what this process has used of the processors, in seconds: beside other
// load it says more than the time that passed.
func cpuTime() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// viewer reads one range and gives it back.
func viewer(b *testing.B, r *Reader, off int64, n int) {
	v, err := r.View(b.Context(), off, n)
	if err != nil {
		b.Fatal(err)
	}
	v.Release()
}

func benchObject(name string, size int64) remote.Object {
	return remote.Object{Key: name, Size: size, Version: "1"}
}

// inParallel runs 1, 4, 16 and 64 goroutines that each repeat what op makes for
// one of them.
func inParallel(b *testing.B, cfg Config, prepare func(b *testing.B, c *Cache), op func(b *testing.B, c *Cache, i int64) func(turn int64)) {
	for _, goroutines := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			c := newCache(b, benchStore{}, cfg)
			if prepare != nil {
				prepare(b, c)
			}
			var started atomic.Int64
			b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
			if goroutines == 1 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			}
			b.ReportAllocs()
			waited, used := lockWait(), cpuTime()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				do := op(b, c, started.Add(1)-1)
				for turn := int64(0); pb.Next(); turn++ {
					do(turn)
				}
			})
			b.StopTimer()
			b.ReportMetric((lockWait()-waited)*1e9/float64(b.N), "lock-ns/op")
			b.ReportMetric((cpuTime()-used)*1e9/float64(b.N), "cpu-ns/op")
		})
	}
}

// hits reads views of n bytes of one object that is in the cache.
func hits(b *testing.B, n int, share bool, prepare func(b *testing.B, c *Cache)) {
	const size = 256 * mib
	inParallel(b, Config{MemoryLimit: 2 * size, Share: share}, func(b *testing.B, c *Cache) {
		r := c.Open(benchObject("a", size))
		defer r.Close()
		for off := int64(0); off < size; off += mib {
			viewer(b, r, off, mib)
		}
		if prepare != nil {
			prepare(b, c)
		}
	}, func(b *testing.B, c *Cache, i int64) func(int64) {
		r := c.Open(benchObject("a", size))
		b.Cleanup(func() { r.Close() })
		return func(turn int64) { viewer(b, r, (i*size/64+turn*int64(n))%size, n) }
	})
}

func BenchmarkHit1MiB(b *testing.B)   { hits(b, mib, false, nil) }
func BenchmarkHit128KiB(b *testing.B) { hits(b, 128<<10, false, nil) }

// BenchmarkHitShared1MiB is BenchmarkHit1MiB of memory that others can map.
func BenchmarkHitShared1MiB(b *testing.B) { hits(b, mib, true, nil) }

// BenchmarkHitAmong100000 is a hit while 100,000 other objects are open.
func BenchmarkHitAmong100000(b *testing.B) {
	hits(b, mib, false, func(b *testing.B, c *Cache) {
		for i := range 100_000 {
			r := c.Open(benchObject(fmt.Sprint("known", i), mib))
			b.Cleanup(func() { r.Close() })
		}
	})
}

// BenchmarkSmallFile opens, reads and closes files of 4 KiB, of which there are
// more than memory holds.
func BenchmarkSmallFile(b *testing.B) {
	names := make([]string, 20_000)
	for i := range names {
		names[i] = fmt.Sprint("small", i)
	}
	inParallel(b, Config{MemoryLimit: 64 * mib}, nil, func(b *testing.B, c *Cache, i int64) func(int64) {
		return func(turn int64) {
			r := c.Open(benchObject(names[(i*307+turn)%int64(len(names))], 4<<10))
			viewer(b, r, 0, 4<<10)
			r.Close()
		}
	})
}

// BenchmarkMemoryShort is views of 1 MiB that are all missed, in less memory than
// the streams would have.
func BenchmarkMemoryShort(b *testing.B) {
	const size = 4 * gibibyte
	inParallel(b, Config{MemoryLimit: 32 * mib}, nil, func(b *testing.B, c *Cache, i int64) func(int64) {
		r := c.Open(benchObject("a", size))
		b.Cleanup(func() { r.Close() })
		return func(turn int64) { viewer(b, r, (i*size/64+turn*mib)%size, mib) }
	})
}

// BenchmarkFetchAmong100000 is a sequential read of what is not in the cache
// while 100,000 other objects are open.
func BenchmarkFetchAmong100000(b *testing.B) {
	const size = 64 * gibibyte
	c := newCache(b, benchStore{}, Config{MemoryLimit: 256 * mib})
	for i := range 100_000 {
		r := c.Open(benchObject(fmt.Sprint("known", i), mib))
		defer r.Close()
	}
	r := c.Open(benchObject("a", size))
	defer r.Close()
	b.ReportAllocs()
	for off := int64(0); b.Loop(); off = (off + mib) % size {
		viewer(b, r, off, mib)
	}
}

const gibibyte = 1 << 30
