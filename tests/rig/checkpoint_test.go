package rig

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func readShards(t *testing.T, dir string, names []string) (data []byte) {
	t.Helper()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	return data
}

func TestWriteIsDeterministic(t *testing.T) {
	write := func(spec Checkpoint) []byte {
		dir := t.TempDir()
		names, err := WriteCheckpoint(dir, spec)
		if err != nil {
			t.Fatal(err)
		}
		return readShards(t, dir, names)
	}
	spec := Checkpoint{Shards: 3, Size: 5 << 20, TensorSize: 300_000, Dtypes: []string{"F32", "I8"}}
	first := write(spec)
	if !bytes.Equal(first, write(spec)) {
		t.Error("the same spec made other bytes")
	}
	spec.Seed = 1
	if bytes.Equal(first, write(spec)) {
		t.Error("another seed made the same bytes")
	}
	if n := len(first); n > 5<<20+8192 || n < 5<<20-3*4096 {
		t.Errorf("%d bytes for a size of %d", n, 5<<20)
	}
}

func TestWriteMakesValidFilesAndIndex(t *testing.T) {
	dir := t.TempDir()
	names, err := WriteCheckpoint(dir, Checkpoint{Shards: 2, Size: 1 << 20, TensorSize: 100_000, Odd: true})
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Weights map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(readShards(t, dir, []string{"model.safetensors.index.json"}), &index); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		data := readShards(t, dir, []string{name})
		n := binary.LittleEndian.Uint64(data)
		header := map[string]struct {
			Offsets [2]int `json:"data_offsets"`
		}{}
		if err := json.Unmarshal(data[8:8+n], &header); err != nil {
			t.Fatal(err)
		}
		end := 0
		for tensor, entry := range header {
			if tensor != "__metadata__" && index.Weights[tensor] != name {
				t.Errorf("%s is in %s, the index says %q", tensor, name, index.Weights[tensor])
			}
			end = max(end, entry.Offsets[1])
		}
		seen += len(header) - 1
		if end+8+int(n) != len(data) || n%8 != 0 {
			t.Errorf("%s: data ends at %d after a header of %d, the file has %d bytes", name, end, n, len(data))
		}
	}
	if seen != len(index.Weights) {
		t.Errorf("%d tensors, %d in the index", seen, len(index.Weights))
	}
}
