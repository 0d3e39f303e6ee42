package gpuload

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weightfs/gpuload/safetensors"
	"weightfs/remote"
	"weightfs/tests/rig"
)

// header makes a header whose data begins at start from dtypes and sizes in
// bytes.
func header(start int64, tensors ...any) *safetensors.Header {
	h := &safetensors.Header{DataStart: start}
	end := int64(0)
	for i := 0; i < len(tensors); i += 2 {
		begin := end
		end += int64(tensors[i+1].(int))
		h.Tensors = append(h.Tensors, safetensors.Tensor{
			Name: fmt.Sprint(i / 2), DType: tensors[i].(safetensors.DType), Begin: begin, End: end,
		})
	}
	return h
}

func TestLayout(t *testing.T) {
	const u8, bf16, f32, c64 = safetensors.U8, safetensors.BF16, safetensors.F32, safetensors.C64
	for _, c := range []struct {
		name   string
		header *safetensors.Header
		cut    int64
		want   layout
	}{
		{"empty", header(8), 100, layout{places: []place{}}},
		{"only tensors without bytes", header(8, f32, 0, u8, 0), 100, layout{places: []place{{-1, 0}, {-1, 0}}}},
		{"one range", header(11, f32, 16, u8, 4080, bf16, 8192, bf16, 4352, f32, 16, f32, 8), 1 << 20, layout{
			allocs: []int64{16664}, segments: []segment{{11, 16675, 0, 0}},
			places: []place{{0, 0}, {0, 16}, {0, 4096}, {0, 12288}, {0, 16640}, {0, 16656}},
		}},
		{"unaligned in the middle", header(8, u8, 3, f32, 4, f32, 0, c64, 8, u8, 1), 1000, layout{
			allocs: []int64{49}, segments: []segment{{8, 11, 0, 0}, {11, 15, 0, 16}, {15, 23, 0, 32}, {23, 24, 0, 48}},
			places: []place{{0, 0}, {0, 16}, {-1, 0}, {0, 32}, {0, 48}},
		}},
		{"a large one behind an odd one", header(13, u8, 3, bf16, 8192, bf16, 8192, bf16, 2), 1 << 20, layout{
			allocs: []int64{16642}, segments: []segment{{13, 16, 0, 0}, {16, 16402, 0, 256}},
			places: []place{{0, 0}, {0, 256}, {0, 8448}, {0, 16640}},
		}},
		{"large is above 4 KiB", header(8, u8, 16, bf16, 4096, bf16, 4098), 1 << 20, layout{
			allocs: []int64{8450}, segments: []segment{{8, 4120, 0, 0}, {4120, 8218, 0, 4352}},
			places: []place{{0, 0}, {0, 16}, {0, 4352}},
		}},
		{"cut at tensor ends", header(8, u8, 64, u8, 36, u8, 1, u8, 500, u8, 1), 100, layout{
			allocs:   []int64{100, 1, 500, 1},
			segments: []segment{{8, 108, 0, 0}, {108, 109, 1, 0}, {109, 609, 2, 0}, {609, 610, 3, 0}},
			places:   []place{{0, 0}, {0, 64}, {1, 0}, {2, 0}, {3, 0}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newLayout(c.header, c.cut); !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestLayoutWithin(t *testing.T) {
	l := &layout{segments: []segment{{10, 20, 0, 0}, {20, 30, 0, 256}, {30, 40, 1, 0}}}
	for _, c := range []struct {
		begin, end int64
		want       []segment
	}{
		{0, 10, nil},
		{40, 50, nil},
		{0, 50, l.segments},
		{15, 15, nil},
		{12, 18, []segment{{12, 18, 0, 2}}},
		{19, 31, []segment{{19, 20, 0, 9}, {20, 30, 0, 256}, {30, 31, 1, 0}}},
	} {
		if got := slices.Collect(l.within(c.begin, c.end)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("within(%d, %d) = %v, want %v", c.begin, c.end, got, c.want)
		}
	}
}

func TestLayoutHeld(t *testing.T) {
	const u8, f32 = safetensors.U8, safetensors.F32
	l := newLayout(header(8, u8, 3, f32, 4, u8, 93, u8, 1, u8, 500), 100)
	for alloc, want := range [][2]int64{{8, 15}, {15, 109}, {109, 609}} {
		if begin, end := l.held(alloc); begin != want[0] || end != want[1] {
			t.Errorf("allocation %d holds [%d,%d), want %v", alloc, begin, end, want)
		}
	}
}

// TestLayoutInvariants copies a file in pieces by the layout and finds every
// tensor whole, aligned and by itself.
func TestLayoutInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tensors []any
		for range rapid.IntRange(0, 20).Draw(t, "tensors") {
			d := safetensors.DType(rapid.IntRange(int(safetensors.Bool), int(safetensors.U64)).Draw(t, "dtype"))
			elements := rapid.OneOf(rapid.IntRange(0, 9), rapid.IntRange(500, 5000)).Draw(t, "elements")
			tensors = append(tensors, d, d.Bits()/8*elements)
		}
		h := header(rapid.Int64Range(8, 40).Draw(t, "start"), tensors...)
		l := newLayout(h, rapid.OneOf(rapid.Int64Range(1, 200), rapid.Int64Range(1<<12, 1<<20)).Draw(t, "cut"))

		file := make([]int64, h.DataStart+h.DataSize())
		for i := range file {
			file[i] = int64(i) + 1
		}
		memory := copyPieces(t, l, file, rapid.OneOf(rapid.Int64Range(1, 50), rapid.Int64Range(1000, 50000)).Draw(t, "piece"))
		for i, tensor := range h.Tensors {
			p := l.places[i]
			if tensor.Size() == 0 {
				continue
			}
			if p.at%16 != 0 || (tensor.Size() > 4096 && p.at%256 != 0) {
				t.Fatalf("tensor %d of %d bytes is at %d", i, tensor.Size(), p.at)
			}
			want := file[h.Offset(tensor):][:tensor.Size()]
			if got := memory[p.alloc][p.at:][:tensor.Size()]; !slices.Equal(got, want) {
				t.Fatalf("tensor %d is %v, want %v", i, got, want)
			}
		}
	})
}

// copyPieces copies the file as the layout says, in pieces of so many bytes.
func copyPieces(t *rapid.T, l *layout, file []int64, piece int64) [][]int64 {
	memory := make([][]int64, len(l.allocs))
	for i, n := range l.allocs {
		memory[i] = make([]int64, n)
	}
	for begin := int64(0); begin < int64(len(file)); begin += piece {
		for s := range l.within(begin, min(begin+piece, int64(len(file)))) {
			if n := copy(memory[s.alloc][s.at:], file[s.begin:s.end]); int64(n) != s.end-s.begin {
				t.Fatalf("segment %+v does not fit", s)
			}
		}
	}
	return memory
}

func TestPartsCoverEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Int64Range(0, 50), 1, 6).Draw(t, "sizes")
		bytes := rapid.Int64Range(1, 20).Draw(t, "part")
		joined, stagger := rapid.Bool().Draw(t, "joined"), rapid.Uint64().Draw(t, "stagger")
		parts := newParts(sizes, partsConfig{bytes: bytes, readers: rapid.IntRange(1, 4).Draw(t, "readers"),
			stagger: stagger, joins: func(int) bool { return joined }})
		parts.store = remote.Connections{Best: rapid.Float64Range(0, 1e9).Draw(t, "best"), Total: rapid.Float64Range(0, 1e10).Draw(t, "total")}
		longest := bytes
		if joined {
			longest *= largestJoin
		}
		reached := make([]int64, len(sizes))
		count := int64(0)
		for p, ok := parts.take(); ok; p, ok = parts.take() {
			next := (int64(stagger%uint64(parts.count())) + count) % parts.count()
			if parts.first[p.file]+p.begin/bytes != next || p.end <= p.begin || p.end-p.begin > longest || p.begin%bytes != 0 {
				t.Fatalf("part %+v, after %d from %d on", p, count, parts.start)
			}
			reached[p.file] += p.end - p.begin
			count += (p.end - p.begin + bytes - 1) / bytes
		}
		if !slices.Equal(reached, sizes) || count != parts.count() {
			t.Fatalf("%d parts reached %v, want %d and %v", count, reached, parts.count(), sizes)
		}
		if _, ok := parts.take(); ok {
			t.Fatal("a part after the last")
		}
	})
}

// Joined parts save GETs, and time where the store is near; nowhere do they cost
// more than a twentieth of it, in virtual time.
func TestJoinedParts(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name                 string
		firstByte            time.Duration
		perConnection, total float64 // bytes per second
		size                 int64
		gets                 int // at most
	}{
		{"small", 30 * time.Millisecond, 40e6, 500e6, gib / 8, 16},
		{"distant", 30 * time.Millisecond, 40e6, 500e6, gib, 128},
		{"distant, large", 30 * time.Millisecond, 40e6, 500e6, 8 * gib, 260},
		{"a region's", 30 * time.Millisecond, 90e6, 5e9, gib, 128},
		{"a region's, large", 30 * time.Millisecond, 90e6, 5e9, 16 * gib, 380},
		{"one rack, slow connections", time.Millisecond, 200e6, 10e9, 4 * gib, 130},
		{"one rack", time.Millisecond, 1.2e9, 5e9, 4 * gib, 85},
		{"one machine", time.Millisecond, 2.5e9, 2.5e9, gib, 30},
	} {
		load := func(join bool) (gets int, took time.Duration) {
			synctest.Test(t, func(t *testing.T) {
				p := newParts([]int64{c.size}, partsConfig{bytes: 8 << 20, readers: storeReaders, joins: func(int) bool { return join }})
				shared := &rig.Line{PerConnection: c.perConnection, Total: c.total}
				start := time.Now()
				var g sync.WaitGroup
				var n atomic.Int64
				for reader := range storeReaders {
					g.Go(func() {
						p.begin(t.Context(), reader)
						for next, ok := p.take(); ok; next, ok = p.take() {
							n.Add(1)
							start := time.Now()
							time.Sleep(c.firstByte)
							for at := next.begin; at < next.end; at += hotPiece {
								time.Sleep(shared.Take(hotPiece))
								p.came(next.file, hotPiece, start, at+hotPiece-next.begin)
							}
						}
					})
				}
				g.Wait()
				gets, took = int(n.Load()), time.Since(start)
			})
			return gets, took
		}
		single, alone := load(false)
		gets, took := load(true)
		t.Logf("%s: %d GETs in %v, joined %d in %v", c.name, single, alone, gets, took)
		if gets > c.gets {
			t.Errorf("%s: %d GETs, want at most %d", c.name, gets, c.gets)
		}
		if took > alone+alone/20 {
			t.Errorf("%s: %v, without joining %v", c.name, took, alone)
		}
	}
}

func TestBudget(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		limit, part int64
		concurrency int
		want        budget
		err         string
	}{
		{MemoryUnlimited, 8 * mib, 16, budget{slots: 24, piece: 8 * mib}, ""},
		{MemoryUnlimited, 8 * mib, 1, budget{slots: 2, piece: 8 * mib}, ""},
		{MemoryUnlimited, 1 << 40, 2, budget{slots: 3, piece: 64 * mib}, ""},
		{MemoryMinimum, 8 * mib, 16, budget{slots: 24, piece: mib}, ""},
		{MemoryMinimum, 4096, 2, budget{slots: 3, piece: 4096}, ""},
		{40e9, 8 * mib, 16, budget{slots: 24, piece: 8 * mib}, ""},
		{24 * 8 * mib, 8 * mib, 16, budget{slots: 24, piece: 8 * mib}, ""},
		{24*8*mib - 1, 8 * mib, 16, budget{slots: 24, piece: 8*mib - 4096}, ""},
		{24 * mib, 8 * mib, 16, budget{slots: 24, piece: mib}, ""},
		{mib, 8 * mib, 16, budget{slots: 4, piece: 256 << 10}, ""},
		{512 << 10, 8 * mib, 16, budget{slots: 2, piece: 256 << 10}, ""},
		{512<<10 - 1, 8 * mib, 16, budget{}, "memory limit of 524287 bytes is below the minimum of 524288"},
		{8192, 4096, 16, budget{slots: 2, piece: 4096}, ""},
	} {
		got, err := newBudget(c.limit, c.part, c.concurrency)
		if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("limit %d, part %d, concurrency %d: %+v, %v; want %+v, %q",
				c.limit, c.part, c.concurrency, got, err, c.want, c.err)
		}
	}
}

// TestDefaultStagingIsSmall holds page-locked memory, which is taken from
// everybody on the host, under 1 GiB unless more is asked for.
func TestDefaultStagingIsSmall(t *testing.T) {
	for _, readers := range []int{pathReaders, storeReaders} {
		o := Options{}.withDefaults(readers)
		b, err := newBudget(o.MemoryLimit, o.PartSize, o.Concurrency)
		if bytes := b.slots * b.piece; bytes >= 1<<30 || err != nil {
			t.Errorf("%d readers: %d bytes of staging, %v", readers, bytes, err)
		}
	}
}

func TestBudgetStaysWithinTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 1<<32).Draw(t, "limit")
		part := rapid.Int64Range(1, 1<<15).Draw(t, "pages") * pageSize
		concurrency := rapid.IntRange(1, 300).Draw(t, "concurrency")
		b, err := newBudget(limit, part, concurrency)
		if err != nil {
			if limit >= fewestSlots*smallestPiece {
				t.Fatal(err)
			}
			return
		}
		if int64(b.slots)*int64(b.piece) > limit || b.slots < fewestSlots || b.piece%pageSize != 0 || b.piece < pageSize {
			t.Fatalf("%+v of a limit of %d", b, limit)
		}
		if r := b.readers(concurrency); r < 1 || r >= b.slots || r > concurrency {
			t.Fatalf("%d readers of %+v", r, b)
		}
	})
}

func TestOptionsAreBounded(t *testing.T) {
	for _, o := range []Options{
		{Concurrency: -1}, {Concurrency: MaxConcurrency + 1}, {Concurrency: math.MaxInt},
		{PartSize: -1}, {PartSize: math.MaxInt64}, {MemoryLimit: MemoryMinimum - 1},
	} {
		if o.Check() == nil {
			t.Errorf("%+v: want an error", o)
		}
	}
	if err := (Options{Concurrency: MaxConcurrency}).Check(); err != nil {
		t.Error(err)
	}
}

// Most readers of a large object wait for what the first ones find out, and not
// for long.
func TestReadersBegin(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int64
		joins  bool
		reader int
		took   time.Duration // of what the first one read; 0: it did not
		want   time.Duration
	}{
		{"a first one", 1 << 30, true, 3, 0, 0},
		{"another", 1 << 30, true, 4, 0, probeTime},
		{"another, of a fast store", 1 << 30, true, 4, 3 * time.Millisecond, 3 * time.Millisecond},
		{"of a small object", 1<<30 - 8<<20, true, 4, 0, 0},
		{"of a path", 1 << 30, false, 4, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newParts([]int64{c.size}, partsConfig{bytes: 8 << 20, readers: 32, joins: func(int) bool { return c.joins }})
			start := time.Now()
			if c.took > 0 {
				go func() {
					time.Sleep(c.took)
					p.came(0, 1<<20, start, 1<<20)
				}()
			}
			p.begin(t.Context(), c.reader)
			if got := time.Since(start); got != c.want {
				t.Errorf("%s: waited %v, want %v", c.name, got, c.want)
			}
		})
	}
}

func TestMountReaders(t *testing.T) {
	for processors, want := range map[int]int{1: 4, 2: 4, 3: 6, 8: 16, 16: 16, 64: 16} {
		if got := mountReaders(processors); got != want {
			t.Errorf("%d for %d processors, want %d", got, processors, want)
		}
	}
}
