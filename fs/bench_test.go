package fs_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/tests/memstore"
)

// benchSize fits into the benchmarks' cache, so that after a first read only
// the way from the cache to the reader is measured.
const benchSize = 256 << 20

// BenchmarkRead reads a file that lies in the cache, and not in the kernel's
// pages, by one process: buffered and mapped at three kernel readaheads, and by
// O_DIRECT, which has none.
func BenchmarkRead(b *testing.B) {
	store := memstore.New(map[string][]byte{"f": randomBytes(benchSize)})
	for _, readahead := range []int64{128 << 10, 1 << 20, 4 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("readahead=%dKiB", readahead>>10), func(b *testing.B) {
			m := mount(b, store, options{
				fs:       fs.Config{ReadAhead: readahead},
				prefetch: prefetch.Config{MemoryLimit: 2 * benchSize},
			})
			path := m.path("f")
			output(b, "dd", "if="+path, "of=/dev/null", "bs=1M", "iflag=nocache", "status=none")
			b.Run("buffered", func(b *testing.B) {
				benchCommand(b, "dd", "if="+path, "of=/dev/null", "bs=1M", "iflag=nocache", "status=none")
			})
			b.Run("mmap", func(b *testing.B) { benchChild(b, "touch", path) })
			b.Run("direct", func(b *testing.B) {
				benchCommand(b, "dd", "if="+path, "of=/dev/null", "bs=1M", "iflag=direct", "status=none")
			})
		})
	}
}

// BenchmarkPassthrough is BenchmarkRead for a file that the kernel reads by
// itself.
func BenchmarkPassthrough(b *testing.B) {
	store, _ := localStore(b, randomBytes(benchSize))
	m := mount(b, store, options{})
	path := m.path("f")
	b.Run("buffered", func(b *testing.B) {
		benchCommand(b, "dd", "if="+path, "of=/dev/null", "bs=1M", "status=none")
	})
	b.Run("mmap", func(b *testing.B) { benchChild(b, "touch", path) })
}

// benchCommand measures a command that reads the file once.
func benchCommand(b *testing.B, name string, args ...string) {
	b.SetBytes(benchSize)
	for b.Loop() {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

// benchChild measures a verb of the re-executed test binary.
func benchChild(b *testing.B, verb, path string) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	benchCommand(b, self, childVerb, verb, path)
}

// BenchmarkFind walks a directory of 20,000 files with their attributes, as
// remembered by us and not by the kernel.
func BenchmarkFind(b *testing.B) {
	files := map[string][]byte{}
	for i := range 20_000 {
		files[fmt.Sprintf("shard-%05d", i)] = nil
	}
	m := mount(b, memstore.New(files), options{})
	for b.Loop() {
		output(b, "find", m.dir, "-size", "+1")
	}
}

// keptMounts is how often BenchmarkKept has mounted.
var keptMounts int

// BenchmarkKept compares a server whose state is kept with one that is alone, in
// turns: reads of 4 KiB that are hits, opens, and listings of 5,000 names, each of
// which is a look-up. Where memory happens to lie differs from mount to mount by more
// than what is looked for: -count mounts anew, each time in the other order.
func BenchmarkKept(b *testing.B) {
	files := map[string][]byte{"f": randomBytes(4 << 20)}
	for i := range 5000 {
		files[fmt.Sprintf("shard-%05d", i)] = nil
	}
	store := memstore.New(files)
	var mounts [2]mounted // alone, kept
	for i := range mounts {
		kept := (i + keptMounts) % 2
		mounts[kept] = mount(b, store, options{ttl: -1, keep: kept == 1})
	}
	keptMounts++
	for _, kind := range []string{"read", "open", "list"} {
		b.Run(kind, func(b *testing.B) {
			out := benchOutput(b, "repeat", kind, strconv.Itoa(b.N), mounts[0].path("f"), mounts[1].path("f"))
			var each [2]float64
			var ratio float64
			if _, err := fmt.Sscan(out, &each[0], &each[1], &ratio); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each[0], "ns/alone")
			b.ReportMetric(each[1], "ns/kept")
			b.ReportMetric(ratio, "kept/alone")
		})
	}
}

// benchOutput runs a verb of the re-executed test binary, and returns its stdout.
func benchOutput(b *testing.B, verb string, args ...string) string {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return output(b, self, append([]string{childVerb, verb}, args...)...)
}
