package gpuload

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weightfs/gpuload/safetensors"
)

// sizesDevice notes the sizes asked for, and has so much memory; 0 is no limit.
type sizesDevice struct {
	Device
	memory int64
	asked  []int64
	used   int64
}

func (d *sizesDevice) Alloc(n int64) (Memory, error) {
	d.asked = append(d.asked, n)
	if d.memory > 0 && d.used+n > d.memory {
		return nil, fmt.Errorf("%d bytes: %w", n, ErrOutOfMemory)
	}
	d.used += n
	return &sizedMemory{size: n}, nil
}

type sizedMemory struct {
	Memory
	size int64
}

func (m *sizedMemory) Size() int64 { return m.size }

// placeAll places files of one tensor of each of the sizes, whose headers have 92
// bytes, and returns where each begins.
func placeAll(t interface{ Fatal(...any) }, dev Device, sizes ...int) (memory []Memory, at []int64) {
	var files []*File
	for _, n := range sizes {
		files = append(files, &File{size: 100 + int64(n)})
	}
	a := newAllocations(dev, files)
	for i, f := range files {
		l := newLayout(header(100, safetensors.U8, sizes[i]), maxAlloc)
		m, _, err := a.place(f, l)
		if err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			memory, at = append(memory, nil), append(at, 0)
			continue
		}
		memory, at = append(memory, m[0]), append(at, l.places[0].at)
		if l.segments[0].at != l.places[0].at {
			t.Fatal("the tensor and its bytes lie apart")
		}
	}
	return memory, at
}

// TestSmallFilesShareAllocations holds what is asked of the device.
func TestSmallFilesShareAllocations(t *testing.T) {
	for _, c := range []struct {
		name   string
		sizes  []int
		memory int64
		want   []int64
	}{
		{"one", []int{1000}, 0, []int64{1000}},
		{"two", []int{1000, 300}, 0, []int64{1024 + 512}},
		{"one without bytes", []int{0, 300}, 0, []int64{300}},
		{"large beside small", []int{1000, sharedFile, 300}, 0, []int64{1024 + 512, sharedFile}},
		{"a thousand", slices.Repeat([]int{100 << 10}, 1000), 0, []int64{sharedAlloc, 100<<10 + 344*(100<<10+256)}},
		{"no room for all", []int{1000, 1000, 1000}, 3000, []int64{1024 + 2*1280, 1000, 1024 + 1280, 1000, 1000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := &sizesDevice{memory: c.memory}
			placeAll(t, dev, c.sizes...)
			if !slices.Equal(dev.asked, c.want) {
				t.Errorf("asked for %v, want %v", dev.asked, c.want)
			}
		})
	}
}

// TestFilesLieApart places files of any sizes: none on another, all aligned, and
// within their memory.
func TestFilesLieApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 600), rapid.IntRange(sharedFile-1000, sharedFile+1000)), 1, 60).Draw(t, "sizes")
		memory, at := placeAll(t, &sizesDevice{}, sizes...)
		ends := make(map[Memory]int64)
		for i, m := range memory {
			switch {
			case m == nil:
				if sizes[i] > 0 {
					t.Fatalf("file %d of %d bytes is nowhere", i, sizes[i])
				}
				continue
			case at[i]%largeAlignment != 0 || at[i] < ends[m] || at[i]+int64(sizes[i]) > m.Size():
				t.Fatalf("file %d of %d bytes is at %d of %d, the one before it ends at %d", i, sizes[i], at[i], m.Size(), ends[m])
			}
			ends[m] = at[i] + int64(sizes[i])
		}
	})
}
