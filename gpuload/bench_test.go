package gpuload_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weightfs/gpuload"
)

// benchBytes is more than any cache holds.
const benchBytes = 1 << 30

// BenchmarkLoad compares Load of a file in the page cache with the bare loop of
// it, in which as many threads read pieces into staging and copy them to the
// device, and with the least memory. The promise is in the ratios of their
// speeds: load/bare is at least 0.85 and least/load at least 0.8. The three take
// turns, and the best time of each counts, so that other work on the machine
// hits them alike.
func BenchmarkLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "model.safetensors")
	writeLarge(b, path)
	for _, concurrency := range []int{4, 16} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			opts := gpuload.Options{Concurrency: concurrency}
			least := gpuload.Options{Concurrency: concurrency, MemoryLimit: gpuload.MemoryMinimum}
			best := [3]time.Duration{math.MaxInt64, math.MaxInt64, math.MaxInt64}
			for b.Loop() {
				for i, run := range []func(){
					func() { bareLoad(b, path, concurrency, 8<<20) },
					func() { fullLoad(b, path, opts) },
					func() { fullLoad(b, path, least) },
				} {
					start := time.Now()
					run()
					best[i] = min(best[i], time.Since(start))
				}
			}
			b.ReportMetric(float64(benchBytes)/1e9/best[1].Seconds(), "GB/s")
			b.ReportMetric(best[0].Seconds()/best[1].Seconds(), "load/bare")
			b.ReportMetric(best[1].Seconds()/best[2].Seconds(), "least/load")
		})
	}
}

// writeLarge writes a file of benchBytes in tensors of 64 MiB.
func writeLarge(b *testing.B, path string) {
	b.Helper()
	const size = 64 << 20
	header := "{"
	for i := range benchBytes / size {
		if i > 0 {
			header += ","
		}
		header += fmt.Sprintf(`"%d":{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}`, i, size/2, i*size, (i+1)*size)
	}
	header += "}"
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...))
	check(b, err)
	piece := make([]byte, size)
	for i := range piece {
		piece[i] = byte(i * i >> 8)
	}
	for range benchBytes / size {
		_, err = f.Write(piece)
		check(b, err)
	}
	check(b, f.Close())
}

func fullLoad(b *testing.B, path string, opts gpuload.Options) {
	src, err := gpuload.OpenSource(b.Context(), gpuload.SourceConfig{}, path)
	if err != nil {
		b.Fatal(err)
	}
	dev := newCPU(b, 0)
	m, err := gpuload.Load(b.Context(), dev, src, opts)
	if err != nil {
		b.Fatal(err)
	}
	check(b, m.Close())
	check(b, dev.Close())
	check(b, src.Close())
}

// bareLoad is what a load cannot do without.
func bareLoad(b *testing.B, path string, threads, piece int) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	dev := newCPU(b, 0)
	memory, err := dev.Alloc(benchBytes + 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	dst := memory.(interface{ Bytes() []byte }).Bytes()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range threads {
		workers.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			staging, err := dev.NewStaging(piece)
			check(b, err)
			for {
				off := (next.Add(1) - 1) * int64(piece)
				n, err := syscall.Pread(int(f.Fd()), staging.Bytes(), off)
				check(b, err)
				if n <= 0 {
					return
				}
				copy(dst[off:], staging.Bytes()[:n])
			}
		})
	}
	workers.Wait()
	check(b, dev.Close())
}
