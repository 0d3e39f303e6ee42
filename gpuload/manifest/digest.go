package manifest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

const (
	// copyBytes is how much is read at a time: a read back from a GPU is fast from
	// 1 MiB on, and the caches hold it.
	copyBytes = 1 << 20
	// smallCopy is how far a memory limit shrinks that before it takes away
	// workers, which hashing needs more: a GPU copies pieces of 256 KiB at 33 GB/s.
	smallCopy = 256 << 10
	// runBytes is about how much one worker reads in a stream: enough to make a
	// request's latency small, and small enough to divide a single large file.
	runBytes = 64 << 20
)

// Config says how digests are taken. The zero value means the defaults.
type Config struct {
	Hash Hash
	// MemoryLimit is the most bytes that are read and not hashed yet, what the
	// device takes to read back included. 0 and gpuload.MemoryUnlimited are 2 MiB
	// for each processor, gpuload.MemoryMinimum a quarter of that. A small one
	// first shrinks what is read at a time, then takes away workers.
	MemoryLimit int64
}

// buffers is how many workers there are, and how many bytes each reads at a
// time: as many again a device may take.
func (c Config) buffers(processors int) (count, size int) {
	switch {
	case c.MemoryLimit == gpuload.MemoryMinimum:
		return processors, smallCopy
	case c.MemoryLimit <= 0:
		return processors, copyBytes
	}
	half := max(c.MemoryLimit/2, 1)
	bytes := min(max(half/int64(processors), smallCopy), half, copyBytes)
	return int(min(half/bytes, int64(processors))), int(bytes)
}

// Hash is a hash function. The zero value is SHA256.
type Hash uint8

// The hash functions.
const (
	SHA256 Hash = iota
	XXH3
)

// ParseHash reads what String writes.
func ParseHash(name string) (Hash, error) {
	for _, h := range []Hash{SHA256, XXH3} {
		if name == h.String() {
			return h, nil
		}
	}
	return 0, fmt.Errorf("unknown hash %q: want %s or %s", name, SHA256, XXH3)
}

// String is sha256 or xxh3.
func (h Hash) String() string {
	if h == XXH3 {
		return "xxh3"
	}
	return "sha256"
}

func (h Hash) new() hash.Hash {
	if h == XXH3 {
		return xxh3.New()
	}
	return sha256.New()
}

// hashOf is the hash that a digest was taken by.
func hashOf(digest string) (Hash, error) {
	name, sum, _ := strings.Cut(digest, ":")
	h, err := ParseHash(name)
	if err != nil {
		return 0, fmt.Errorf("digest %q: %w", digest, err)
	}
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != h.new().Size() {
		return 0, fmt.Errorf("digest %q is not %d bytes in hexadecimal", digest, h.new().Size())
	}
	return h, nil
}

// FromModel describes a model by its bytes on the device. Neighbours are read
// back together: a GPU takes as long for a few bytes as for thousands.
func FromModel(ctx context.Context, m *gpuload.Model, cfg Config) ([]Entry, error) {
	entries := make([]Entry, len(m.Tensors()))
	held := make(map[gpuload.Memory][]placed)
	for i, t := range m.Tensors() {
		entries[i] = entryOf(t.File(), t.Tensor, t.Offset())
		memory, at := t.Memory()
		held[memory] = append(held[memory], placed{&entries[i], at})
	}
	runs := split(held[nil], nil, "")
	for _, memory := range m.Memory() {
		in := held[memory]
		slices.SortFunc(in, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
		runs = append(runs, split(in, func(_ context.Context, off, n int64) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(memory, off, n)), nil
		}, "back")...)
	}
	err := digest(ctx, runs, cfg)
	dropSources(entries)
	return entries, err
}

// FromSource describes the tensors of a source by reading its files again, in
// the order of FromModel.
func FromSource(ctx context.Context, src *gpuload.Source, cfg Config) ([]Entry, error) {
	headers, err := src.Headers(ctx)
	if err != nil {
		return nil, err
	}
	var files [][]Entry
	var runs []run
	for i, f := range src.Files() {
		file := make([]Entry, 0, len(headers[i].Tensors))
		for _, t := range headers[i].Tensors {
			file = append(file, entryOf(f, t, headers[i].Offset(t)))
		}
		in := make([]placed, len(file))
		for i := range file {
			in[i] = placed{&file[i], file[i].Offset}
		}
		files = append(files, file)
		runs = append(runs, split(in, f.Open, "of "+f.Path())...)
	}
	err = digest(ctx, runs, cfg)
	entries := slices.Concat(files...)
	dropSources(entries)
	return entries, err
}

func entryOf(f *gpuload.File, t safetensors.Tensor, offset int64) Entry {
	return Entry{
		Name: t.Name, DType: t.DType.String(), Shape: t.Shape,
		File: f.Name(), Source: f.Argument() + 1, Offset: offset, NBytes: t.Size(),
	}
}

// dropSources clears the Source of entries whose file has a name of its own.
func dropSources(entries []Entry) {
	sources := make(map[string]int) // of each name; 0 for several
	for _, e := range entries {
		if source, seen := sources[e.File]; seen && source != e.Source {
			sources[e.File] = 0
		} else {
			sources[e.File] = e.Source
		}
	}
	for i := range entries {
		if sources[entries[i].File] != 0 {
			entries[i].Source = 0
		}
	}
}
