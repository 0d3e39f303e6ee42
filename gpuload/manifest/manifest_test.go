package manifest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/manifest"
)

// file is a vector, a scalar and a tensor without bytes.
func file(prefix string) []byte {
	header := fmt.Sprintf(`{"%[1]sa":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},`+
		`"%[1]se":{"dtype":"F32","shape":[0,3],"data_offsets":[5,5]},`+
		`"%[1]ss":{"dtype":"I16","shape":[],"data_offsets":[5,7]}}`, prefix)
	b := []byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}
	return append(append(b, header...), "hello\x01\x02"...)
}

func load(t *testing.T) (*gpuload.Source, *gpuload.Model) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"x", "y", "z"} {
		must(t, os.WriteFile(filepath.Join(dir, name+".safetensors"), file(name), 0o600))
	}
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{})
	must(t, err)
	return loadOnto(t, dev, dir)
}

func loadOnto(t *testing.T, dev gpuload.Device, paths ...string) (*gpuload.Source, *gpuload.Model) {
	t.Helper()
	src, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, paths...)
	must(t, err)
	m, err := gpuload.Load(t.Context(), dev, src, gpuload.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(m.Close(), dev.Close(), src.Close())) })
	return src, m
}

func TestFromModelAndSource(t *testing.T) {
	src, m := load(t)
	for _, h := range []manifest.Hash{manifest.SHA256, manifest.XXH3} {
		got, err := manifest.FromModel(t.Context(), m, manifest.Config{Hash: h})
		must(t, err)
		again, err := manifest.FromSource(t.Context(), src, manifest.Config{Hash: h})
		must(t, err)
		if !reflect.DeepEqual(got, again) {
			t.Errorf("%s: the device has %v, the source %v", h, got, again)
		}
		must(t, manifest.Compare(got, again))
		if h == manifest.SHA256 {
			const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
			if got[0].Digest != hello || got[0].File != "x.safetensors" || got[0].NBytes != 5 {
				t.Errorf("first entry %+v, want the digest %s", got[0], hello)
			}
		}
	}
}

// Sources with files of equal names are told apart, and only these.
func TestSourcesWithEqualNames(t *testing.T) {
	var dirs []string
	for _, names := range [][]string{{"model", "x"}, {"model", "y"}, {"model"}} {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		for _, name := range names {
			must(t, os.WriteFile(filepath.Join(dir, name+".safetensors"), file(fmt.Sprint(name, len(dirs))), 0o600))
		}
	}
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{})
	must(t, err)
	src, m := loadOnto(t, dev, dirs...)
	got, err := manifest.FromModel(t.Context(), m, manifest.Config{Hash: manifest.XXH3})
	must(t, err)
	again, err := manifest.FromSource(t.Context(), src, manifest.Config{Hash: manifest.XXH3})
	must(t, err)
	if !reflect.DeepEqual(got, again) {
		t.Errorf("the device has %v, the source %v", got, again)
	}
	var files []string
	for _, e := range got {
		if e.NBytes == 5 {
			files = append(files, fmt.Sprint(e.Source, " ", e.File))
		}
	}
	want := []string{"1 model.safetensors", "0 x.safetensors", "2 model.safetensors", "0 y.safetensors", "3 model.safetensors"}
	if !slices.Equal(files, want) {
		t.Errorf("the files are %q, want %q", files, want)
	}
	if got[0].Source = 3; manifest.Compare(got, again) == nil {
		t.Error("a tensor of the third source passes for one of the first")
	}
}

// readsDevice counts what is read back from it.
type readsDevice struct {
	gpuload.Device
	reads, longest atomic.Int64
}

func (d *readsDevice) Alloc(n int64) (gpuload.Memory, error) {
	m, err := d.Device.Alloc(n)
	return &readsMemory{m, d}, err
}

type readsMemory struct {
	gpuload.Memory
	device *readsDevice
}

func (m *readsMemory) ReadAt(p []byte, off int64) (int, error) {
	m.device.reads.Add(1)
	if n := int64(len(p)); n > m.device.longest.Load() {
		m.device.longest.Store(n) // not exact where two reads race, and never too much
	}
	return m.Memory.ReadAt(p, off)
}

func (d *readsDevice) NewStream() (gpuload.Stream, error) {
	s, err := d.Device.NewStream()
	return readsStream{s}, err
}

type readsStream struct{ gpuload.Stream }

func (s readsStream) Copy(dst gpuload.Memory, off int64, src gpuload.Staging, begin, n int) error {
	return s.Stream.Copy(dst.(*readsMemory).Memory, off, src, begin, n)
}

// Tensors of every size, with and without a gap before them on the device, are
// digested as they are in the file, and the small ones are not read one by one.
func TestSmallTensorsAreReadBackTogether(t *testing.T) {
	header, end := map[string]any{}, 0
	for i := range 20_000 {
		dtype, width, n := "F32", 4, i%7
		switch {
		case i%5000 == 4999:
			n = 1 << 20
		case i%3 == 0:
			dtype, width = "U8", 1
		}
		header[fmt.Sprintf("t%d", i)] = map[string]any{"dtype": dtype, "shape": []int{n}, "data_offsets": []int{end, end + n*width}}
		end += n * width
	}
	text, err := json.Marshal(header)
	must(t, err)
	data := make([]byte, end)
	rand.NewChaCha8([32]byte{}).Read(data)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	must(t, os.WriteFile(path, slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, data), 0o600))

	cpu, err := gpuload.NewCPU(gpuload.CPUConfig{})
	must(t, err)
	dev := &readsDevice{Device: cpu}
	src, m := loadOnto(t, dev, path)
	got, err := manifest.FromModel(t.Context(), m, manifest.Config{Hash: manifest.XXH3})
	must(t, err)
	want, err := manifest.FromSource(t.Context(), src, manifest.Config{Hash: manifest.XXH3})
	must(t, err)
	must(t, manifest.Compare(got, want))
	if reads := dev.reads.Load(); reads > 50 {
		t.Errorf("%d reads of %d bytes in %d tensors", reads, end, len(header))
	}
}

// TestMemoryLimit holds how much is read back at a time, and that the buffers are
// few and used again: all that a description of 64 MiB allocates is near the
// limit.
func TestMemoryLimit(t *testing.T) {
	const tensors, size, limit = 64, 1 << 20, 1 << 20
	header := make(map[string]any)
	for i := range tensors {
		header[fmt.Sprintf("t%d", i)] = map[string]any{"dtype": "U8", "shape": []int{size}, "data_offsets": []int{i * size, (i + 1) * size}}
	}
	text, err := json.Marshal(header)
	must(t, err)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	must(t, os.WriteFile(path, slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, make([]byte, tensors*size)), 0o600))
	cpu, err := gpuload.NewCPU(gpuload.CPUConfig{})
	must(t, err)
	dev := &readsDevice{Device: cpu}
	src, m := loadOnto(t, dev, path)
	cfg := manifest.Config{Hash: manifest.XXH3, MemoryLimit: limit}
	for name, describe := range map[string]func() ([]manifest.Entry, error){
		"device": func() ([]manifest.Entry, error) { return manifest.FromModel(t.Context(), m, cfg) },
		"source": func() ([]manifest.Entry, error) { return manifest.FromSource(t.Context(), src, cfg) },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := describe()
		must(t, err)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 2*limit {
			t.Errorf("%s: %d bytes were allocated under a limit of %d", name, took, limit)
		}
	}
	if longest := dev.longest.Load(); longest > limit/2 {
		t.Errorf("%d bytes were read back at a time under a limit of %d", longest, limit)
	}
}

func TestWriteRead(t *testing.T) {
	_, m := load(t)
	want, err := manifest.FromModel(t.Context(), m, manifest.Config{Hash: manifest.XXH3})
	must(t, err)
	path := filepath.Join(t.TempDir(), "m.jsonl")
	for range 2 { // the second replaces the first
		must(t, manifest.Write(path, want))
	}
	got, err := manifest.ReadFile(path)
	must(t, err)
	must(t, manifest.Compare(got, want))
	text, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Contains(text, []byte(`"shape":[]`)) || bytes.Count(text, []byte("\n")) != len(want) {
		t.Errorf("the file is %s", text)
	}
	if h, err := manifest.HashOf(got); h != manifest.XXH3 || err != nil {
		t.Errorf("HashOf = %v, %v", h, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(left) != 1 {
		t.Errorf("beside the manifest there are %v", left)
	}
}

func TestWriteToMissingFolder(t *testing.T) {
	if err := manifest.Write(filepath.Join(t.TempDir(), "none", "m"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want os.ErrNotExist", err)
	}
}

func TestWriteReplacesRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.Symlink(filepath.Join(dir, "file"), link))
	for _, path := range []string{dir, fifo, link} {
		before, err := os.Lstat(path)
		must(t, err)
		if err := manifest.Write(path, nil); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v, want os.ErrExist", path, err)
		}
		after, err := os.Lstat(path)
		must(t, err)
		if !os.SameFile(before, after) {
			t.Errorf("%s was replaced", path)
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 2 {
		t.Errorf("there are %v", left)
	}
}

func TestCompare(t *testing.T) {
	base := manifest.Entry{Name: "a", File: "f", DType: "F32", Shape: []uint64{2}, NBytes: 8, Digest: "xxh3:0000000000000001"}
	change := func(f func(*manifest.Entry)) []manifest.Entry {
		e := base
		f(&e)
		return []manifest.Entry{e}
	}
	for _, c := range []struct {
		name string
		got  []manifest.Entry
		want string // "" for equal
	}{
		{"same", []manifest.Entry{base}, ""},
		{"other place", change(func(e *manifest.Entry) { e.Offset = 9 }), `"a" is at byte 9 of f, expected at 0 of f`},
		{"other file", change(func(e *manifest.Entry) { e.File = "g" }), `"a" is at byte 0 of g, expected at 0 of f`},
		{"named source", change(func(e *manifest.Entry) { e.Source = 2 }), ""},
		{"digest of a named source", change(func(e *manifest.Entry) { e.Source, e.Digest = 2, "xxh3:0000000000000002" }), `"a" of f of source 2 has digest`},
		{"other dtype", change(func(e *manifest.Entry) { e.DType = "I32" }), "is I32 [2], expected F32 [2]"},
		{"other shape", change(func(e *manifest.Entry) { e.Shape = []uint64{1, 2} }), "[1 2]"},
		{"other digest", change(func(e *manifest.Entry) { e.Digest = "xxh3:0000000000000002" }), "expected xxh3:0000000000000001"},
		{"missing", nil, `"a" is missing`},
		{"renamed", change(func(e *manifest.Entry) { e.Name = "b" }), `"b" of f is not expected, and 1 more`},
	} {
		err := manifest.Compare(c.got, []manifest.Entry{base})
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"name":"a","digest":"xxh3:0000000000000001"}`))
	f.Add([]byte(`{"name":"a","digest":"sha256:00"}{"name":"a"}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := manifest.Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		for _, e := range entries {
			must(t, json.NewEncoder(&out).Encode(e))
		}
		again, err := manifest.Read(&out)
		must(t, err)
		must(t, manifest.Compare(again, entries))
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
