package rig

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Checkpoint says what to write. Zero fields mean the defaults.
type Checkpoint struct {
	// Shards is the number of files; 0 is 1.
	Shards int
	// Size is the bytes of all tensors together; 0 is 64 MiB. Each shard gets
	// its part of it, and may be smaller by less than one row.
	Size int64
	// TensorSize is about the bytes of one matrix; 0 is 32 MiB. Each matrix is
	// followed by a small vector, as layers have them.
	TensorSize int64
	// Dtypes are taken in turn; nil is BF16 alone.
	Dtypes []string
	// Odd begins each shard with a tensor of 3 bytes, so that no address after
	// it is aligned to its element size.
	Odd bool
	// Seed makes other content.
	Seed uint64
}

// columns is the width of the matrices.
const columns = 1024

// elementSizes are the dtypes that can be written, in bytes.
func elementSizes() map[string]int64 {
	return map[string]int64{
		"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
		"I16": 2, "U16": 2, "F16": 2, "BF16": 2,
		"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
	}
}

// WriteCheckpoint makes the files in dir, which must exist: "model.safetensors", or
// shards named "model-00001-of-0000N.safetensors" with their index. It returns
// the shards' names.
func WriteCheckpoint(dir string, spec Checkpoint) ([]string, error) {
	spec.Shards = cmp.Or(spec.Shards, 1)
	spec.Size = cmp.Or(spec.Size, 64<<20)
	spec.TensorSize = cmp.Or(spec.TensorSize, 32<<20)
	if len(spec.Dtypes) == 0 {
		spec.Dtypes = []string{"BF16"}
	}
	names := make([]string, spec.Shards)
	weights := map[string]string{}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range names {
		names[i] = shardName(i, spec.Shards)
		tensors := planShard(spec, i)
		for _, t := range tensors {
			weights[t.name] = names[i]
		}
		group.Go(func() error {
			return writeShard(filepath.Join(dir, names[i]), tensors, spec.Seed+uint64(i)<<32)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if spec.Shards == 1 {
		return names, nil
	}
	return names, writeIndex(dir, spec, weights)
}

func shardName(i, n int) string {
	if n == 1 {
		return "model.safetensors"
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
}

// shardTensor is one tensor of a shard; its bytes follow those of the one before.
type shardTensor struct {
	name, dtype string
	shape       []int64
	bytes       int64
}

// planShard divides a shard's bytes into tensors, in the order of their names: so the
// format's own writer lays them out, and readers take them.
func planShard(spec Checkpoint, shard int) []shardTensor {
	left := spec.Size / int64(spec.Shards)
	var tensors []shardTensor
	add := func(kind, dtype string, shape ...int64) {
		t := shardTensor{fmt.Sprintf("model.layers.%d.%05d.%s", shard, len(tensors), kind), dtype, shape, elementSizes()[dtype]}
		for _, n := range shape {
			t.bytes *= n
		}
		left -= t.bytes
		tensors = append(tensors, t)
	}
	if spec.Odd && left > 3 {
		add("odd", "U8", 3)
	}
	for i := 0; ; i++ {
		dtype := spec.Dtypes[i%len(spec.Dtypes)]
		row := columns * elementSizes()[dtype]
		if left < row {
			return tensors
		}
		add("weight", dtype, max(1, min(left, spec.TensorSize)/row), columns)
		if left >= row {
			add("norm", dtype, columns)
		}
	}
}

func writeShard(path string, tensors []shardTensor, seed uint64) error {
	header, total, err := encodeHeader(tensors)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	w.Write(header) // Flush returns an error of it
	return errors.Join(writeContent(w, total, seed), w.Flush(), f.Close())
}

// encodeHeader returns the length and the padded JSON, and the bytes of data.
func encodeHeader(tensors []shardTensor) (header []byte, total int64, err error) {
	type entry struct {
		Dtype   string   `json:"dtype"`
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	entries := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	for _, t := range tensors {
		entries[t.name] = entry{t.dtype, t.shape, [2]int64{total, total + t.bytes}}
		total += t.bytes
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, 0, err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), total, nil
}

// writeContent writes n pseudo-random bytes: splitmix64 of a counter, several
// GB/s, and no two blocks alike.
func writeContent(w *bufio.Writer, n int64, seed uint64) error {
	block := make([]byte, 64<<10)
	for counter := seed << 1; n > 0; n -= int64(len(block)) {
		for i := 0; i < len(block); i += 8 {
			counter += 0x9e3779b97f4a7c15
			z := counter
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			binary.LittleEndian.PutUint64(block[i:], z^z>>31)
		}
		if _, err := w.Write(block[:min(n, int64(len(block)))]); err != nil {
			return err
		}
	}
	return nil
}

func writeIndex(dir string, spec Checkpoint, weights map[string]string) error {
	data, err := json.MarshalIndent(map[string]any{
		"metadata":   map[string]int64{"total_size": spec.Size},
		"weight_map": weights,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), data, 0o644)
}
