package gpuload_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
	"weightfs/remote"
)

const mib = 1 << 20

func TestLoadBitForBit(t *testing.T) {
	dir := t.TempDir()
	first, second := everyDType("a.", 3*mib+5), everyDType("b.", 1)
	paths := []string{
		write(t, dir, "1.safetensors", first),
		write(t, dir, "2.safetensors", nil), // no tensors at all
		write(t, dir, "3.safetensors", second),
	}
	want := append(first, second...)
	for _, limit := range []int64{0, gpuload.MemoryUnlimited, gpuload.MemoryMinimum, 512 << 10, mib, 5*mib + 1} {
		for _, concurrency := range []int{1, 3, 16} {
			for _, part := range []int64{0, 1, 64 << 10, mib} {
				t.Run(fmt.Sprintf("limit=%d/concurrency=%d/part=%d", limit, concurrency, part), func(t *testing.T) {
					loadAndCompare(t, open(t, paths...), want,
						gpuload.Options{Concurrency: concurrency, MemoryLimit: limit, PartSize: part})
				})
			}
		}
	}
}

// loadAndCompare loads src and compares content, delivery, progress and the
// memory taken.
func loadAndCompare(t *testing.T, src *gpuload.Source, want []content, opts gpuload.Options) {
	dev := &countingDevice{Device: newCPU(t, 0)}
	defer func() { check(t, dev.Close()) }()
	delivered := make(map[string]bool)
	var arrived atomic.Int64
	opts.Progress = func(n int64) { arrived.Add(n) }
	opts.Deliver = func(tensor *gpuload.Tensor) error {
		if delivered[tensor.Name] {
			t.Errorf("%s was delivered twice", tensor.Name)
		}
		delivered[tensor.Name] = true
		return nil
	}
	m, err := gpuload.Load(t.Context(), dev, src, opts)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, want)
	if len(delivered) != len(want) {
		t.Errorf("%d tensors were delivered, want %d", len(delivered), len(want))
	}
	if arrived.Load() != src.Bytes() {
		t.Errorf("progress of %d bytes, want %d", arrived.Load(), src.Bytes())
	}
	peak := dev.staging.peak.Load()
	if m.Stats().StagingPeakBytes != peak {
		t.Errorf("staging peak of %d bytes in the statistics, %d in truth", m.Stats().StagingPeakBytes, peak)
	}
	if opts.MemoryLimit > 0 && peak > opts.MemoryLimit {
		t.Errorf("staging peak of %d bytes, over the limit of %d", peak, opts.MemoryLimit)
	}
	check(t, m.Close())
	dev.expectFreed(t)
}

// TestLoadAligns holds where tensors lie on the device, whatever the length of
// the header: as in the file if that is aligned, else moved up. Every address is
// checked by expect.
func TestLoadAligns(t *testing.T) {
	const u8, bf16 = safetensors.U8, safetensors.BF16
	aligned := []content{{"a", bf16, []uint64{64, 66}}, {"b", bf16, []uint64{64, 62}}, {"c", bf16, []uint64{8}}, {"d", u8, []uint64{3}}}
	for _, c := range []struct {
		name    string
		tensors []content
		bytes   int64 // of the allocation
	}{
		{"as in the file", aligned, 64*128*2 + 16 + 3},
		{"odd before large", append([]content{{"odd", u8, []uint64{4099}}}, aligned...), 17<<8 + 64*128*2 + 16 + 3},
		{"odd before small", []content{{"odd", u8, []uint64{5}}, {"small", bf16, []uint64{2048}}, {"next", bf16, []uint64{1}}}, 16 + 4096 + 2},
		{"large behind small", []content{{"small", bf16, []uint64{8}}, {"large", bf16, []uint64{2049}}, {"scalar", bf16, nil}}, 256 + 4112 + 2},
	} {
		path := write(t, t.TempDir(), "model.safetensors", c.tensors)
		text, err := os.ReadFile(path)
		check(t, err)
		if start := 8 + binary.LittleEndian.Uint64(text); start%2 == 0 {
			t.Errorf("%s: the data begins at %d, want an odd place", c.name, start)
		}
		for _, part := range []int64{0, 4096} {
			t.Run(fmt.Sprintf("%s/part=%d", c.name, part), func(t *testing.T) {
				loadAndCompare(t, open(t, path), c.tensors, gpuload.Options{PartSize: part})
				dev := newCPU(t, 0)
				defer func() { check(t, dev.Close()) }()
				m, err := gpuload.Load(t.Context(), dev, open(t, path), gpuload.Options{PartSize: part})
				check(t, err)
				if memory := m.Memory(); len(memory) != 1 || memory[0].Size() != c.bytes {
					t.Errorf("%d allocations, of %d bytes, want one of %d", len(memory), memory[0].Size(), c.bytes)
				}
				check(t, m.Close())
			})
		}
	}
}

// TestLoadSmallFiles loads files that share an allocation: each tensor is whole,
// aligned and delivered once, and all memory is freed once.
func TestLoadSmallFiles(t *testing.T) {
	dir := t.TempDir()
	var want []content
	for i := range 200 {
		tensors := everyDType(fmt.Sprint(i, "."), uint64(i*37))
		write(t, dir, fmt.Sprintf("%03d.safetensors", i), tensors)
		want = append(want, tensors...)
	}
	loadAndCompare(t, open(t, dir), want, gpuload.Options{PartSize: 4096})
	dev := newCPU(t, 0)
	defer func() { check(t, dev.Close()) }()
	m, err := gpuload.Load(t.Context(), dev, open(t, dir), gpuload.Options{})
	check(t, err)
	if n := len(m.Memory()); n != 1 {
		t.Errorf("%d allocations, want one", n)
	}
	check(t, m.Close())
}

func TestLoadSizesAroundParts(t *testing.T) {
	const part = 8192
	empty := len(encode([]content{{"t", safetensors.U8, []uint64{1000}}})) - 1000
	for _, size := range []int{part - 1, part, part + 1, 2 * part, 4096, 4097, 3*part + 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			tensors := []content{{"t", safetensors.U8, []uint64{uint64(size - empty)}}}
			path := write(t, t.TempDir(), "x.safetensors", tensors)
			loadAndCompare(t, open(t, path), tensors, gpuload.Options{PartSize: part, Concurrency: 2})
		})
	}
}

// What is read by a megabyte is staged by a megabyte: page-locking more would be
// slow and for nothing.
func TestStagingIsWhatIsReadAtATime(t *testing.T) {
	src := open(t, write(t, t.TempDir(), "model.safetensors", []content{{"a", safetensors.U8, []uint64{24 << 20}}}))
	dev := newCPU(t, 0)
	defer func() { check(t, dev.Close()) }()
	m, err := gpuload.Load(t.Context(), dev, src, gpuload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, m.Close()) }()
	if got := m.Stats().PieceBytes; got != 1<<20 {
		t.Errorf("a cached file was staged by %d bytes", got)
	}
}

func TestLoadManyFiles(t *testing.T) {
	dir := t.TempDir()
	var want []content
	for i := range 100 {
		tensors := everyDType(fmt.Sprintf("%d.", i), uint64(i))
		want = append(want, tensors...)
		write(t, dir, fmt.Sprintf("model-%05d.safetensors", i), tensors)
	}
	loadAndCompare(t, open(t, dir), want, gpuload.Options{})
}

func TestLoadRefusesOptions(t *testing.T) {
	src := open(t, write(t, t.TempDir(), "x.safetensors", everyDType("", 100)))
	for _, c := range []struct {
		opts gpuload.Options
		want string
	}{
		{gpuload.Options{Concurrency: -1}, "concurrency of -1"},
		{gpuload.Options{PartSize: -1}, "part size of -1"},
		{gpuload.Options{MemoryLimit: -3}, "memory limit of -3"},
		{gpuload.Options{MemoryLimit: 500_000}, "memory limit of 500000 bytes is below the minimum of 524288"},
	} {
		dev := newCPU(t, 0)
		if _, err := gpuload.Load(t.Context(), dev, src, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.opts, err, c.want)
		}
		check(t, dev.Close())
	}
}

func TestLoadFaults(t *testing.T) {
	tensors := []content{{"first", safetensors.U8, []uint64{mib}}, {"second", safetensors.F32, []uint64{mib}}}
	for _, c := range []struct {
		name  string
		fault func(path string) error
		is    error
	}{
		{"truncated", func(path string) error { return os.Truncate(path, 2*mib) }, remote.ErrChanged},
		{"grown", func(path string) error { return os.Truncate(path, 20*mib) }, remote.ErrChanged},
		{"rewritten", func(path string) error { return os.WriteFile(path, encode(everyDType("", 5*mib)), 0o600) }, remote.ErrChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "x.safetensors", tensors)
			src := open(t, path)
			if _, err := src.Headers(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.fault(path); err != nil {
				t.Fatal(err)
			}
			err := loadFails(t, newCPU(t, 0), src, gpuload.Options{PartSize: 32 * mib})
			where := fmt.Sprintf(`load %s [0,%d), tensors "first" to "second": `, path, src.Bytes())
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), where) {
				t.Errorf("%v: want %v, and %q", err, c.is, where)
			}
		})
	}
}

func TestLoadReplacedByRename(t *testing.T) {
	dir := t.TempDir()
	tensors := everyDType("", 2*mib)
	path := write(t, dir, "x.safetensors", tensors)
	src := open(t, path)
	if err := os.Rename(write(t, dir, "y", everyDType("other", mib)), path); err != nil {
		t.Fatal(err)
	}
	loadAndCompare(t, src, tensors, gpuload.Options{}) // of the file that was opened
}

func TestLoadOutOfDeviceMemory(t *testing.T) {
	path := write(t, t.TempDir(), "x.safetensors", everyDType("", 2*mib))
	src := open(t, path)
	headers, err := src.Headers(t.Context())
	check(t, err)
	err = loadFails(t, newCPU(t, mib), src, gpuload.Options{})
	where := fmt.Sprintf(`load %s [%d,%d), tensors "big" to "U64.scalar": cpu: allocate`, path, headers[0].DataStart, src.Bytes())
	if !errors.Is(err, gpuload.ErrOutOfMemory) || !strings.Contains(err.Error(), where) {
		t.Errorf("%v: want ErrOutOfMemory, and %q", err, where)
	}
}

func TestLoadMalformed(t *testing.T) {
	path := write(t, t.TempDir(), "x.safetensors", everyDType("", 100))
	if err := os.Truncate(path, 200); err != nil {
		t.Fatal(err)
	}
	if err := loadFails(t, newCPU(t, 0), open(t, path), gpuload.Options{}); !errors.Is(err, safetensors.ErrInvalidHeaderLength) {
		t.Errorf("%v: want ErrInvalidHeaderLength", err)
	}
}

func TestLoadDuplicateTensor(t *testing.T) {
	dir := t.TempDir()
	one := write(t, dir, "1.safetensors", everyDType("", 100))
	two := write(t, dir, "2.safetensors", everyDType("", 100))
	err := loadFails(t, newCPU(t, 0), open(t, dir), gpuload.Options{})
	for _, want := range []string{one, two, `"big"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s in it", err, want)
		}
	}
}

func TestLoadDeviceFails(t *testing.T) {
	path := write(t, t.TempDir(), "x.safetensors", everyDType("", 8*mib))
	for _, c := range []string{"staging", "stream", "copy", "record", "wait"} {
		t.Run(c, func(t *testing.T) {
			dev := &failingDevice{Device: newCPU(t, 0), fails: c}
			if err := loadFails(t, dev, open(t, path), gpuload.Options{PartSize: mib}); !errors.Is(err, errBroken) {
				t.Errorf("%v: want %v", err, errBroken)
			}
		})
	}
}

func TestLoadDeliverFails(t *testing.T) {
	path := write(t, t.TempDir(), "x.safetensors", everyDType("", mib))
	opts := gpuload.Options{Deliver: func(*gpuload.Tensor) error { return errBroken }}
	if err := loadFails(t, newCPU(t, 0), open(t, path), opts); !errors.Is(err, errBroken) {
		t.Errorf("%v: want %v", err, errBroken)
	}
}

func TestOpenSourceErrors(t *testing.T) {
	empty := t.TempDir()
	for arg, want := range map[string]error{
		empty + "/none":             fs.ErrNotExist,
		empty + "/none.safetensors": fs.ErrNotExist,
		empty:                       safetensors.ErrNoFiles,
	} {
		_, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, arg)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), arg) {
			t.Errorf("%s: %v, want %v and the name", arg, err, want)
		}
	}
	if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}); err == nil {
		t.Error("no arguments: want an error")
	}
}

// loadFails loads, expects an error, and that everything was freed.
func loadFails(t *testing.T, dev gpuload.Device, src *gpuload.Source, opts gpuload.Options) error {
	t.Helper()
	counting := &countingDevice{Device: dev}
	m, err := gpuload.Load(t.Context(), counting, src, opts)
	if err == nil {
		check(t, m.Close())
		t.Fatal("the load succeeded")
	}
	counting.expectFreed(t)
	check(t, counting.Close())
	return err
}
