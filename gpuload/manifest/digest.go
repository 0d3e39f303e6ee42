package manifest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

const (
	// copyBytes is how much is hashed at a time: a read back from a GPU is fast
	// from 1 MiB on, and the caches hold it.
	copyBytes = 1 << 20
	// smallBytes is the buffer out of which a source's small tensors are hashed:
	// the bytes of large ones go past it, but for so many.
	smallBytes = 64 << 10
	// spanBytes is about how much of a source one worker reads in a stream:
	// enough to make the request's latency small, and small enough to divide
	// a single large file.
	spanBytes = 64 << 20
)

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

// FromModel describes a model by its bytes on the device. Small neighbours are
// read back together: a GPU takes as long for a few bytes as for thousands.
func FromModel(ctx context.Context, m *gpuload.Model, h Hash) ([]Entry, error) {
	entries := make([]Entry, len(m.Tensors()))
	var held []heldEntry
	for i, t := range m.Tensors() {
		entries[i] = entryOf(t.File(), t.Tensor, t.Offset())
		if memory, at := t.Memory(); memory != nil {
			held = append(held, heldEntry{&entries[i], memory, at})
		} else if err := digest(ctx, &entries[i], h, nil); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for len(held) > 0 {
		n := neighbours(held)
		group := held[:n]
		held = held[n:]
		g.Go(func() error { return readBack(ctx, group, h) })
	}
	dropSources(entries)
	return entries, g.Wait()
}

// heldEntry is where the bytes of an entry lie on the device.
type heldEntry struct {
	*Entry
	memory gpuload.Memory
	at     int64
}

func (e heldEntry) end() int64 { return e.at + e.NBytes }

// neighbours is how many entries, from the first on, lie in one allocation and
// within copyBytes: one at least.
func neighbours(held []heldEntry) int {
	for i, e := range held[1:] {
		if e.memory != held[0].memory || e.end()-held[0].at > copyBytes {
			return i + 1
		}
	}
	return len(held)
}

// readBack fills in the digests of neighbours.
func readBack(ctx context.Context, group []heldEntry, h Hash) error {
	pos := group[0].at
	n := group[len(group)-1].end() - pos
	var r io.Reader = io.NewSectionReader(group[0].memory, pos, n)
	if len(group) > 1 {
		r = bufio.NewReaderSize(r, int(n))
	}
	for _, e := range group {
		_, err := io.CopyN(io.Discard, r, e.at-pos)
		if err == nil {
			err = digest(ctx, e.Entry, h, r)
		}
		if err != nil {
			return fmt.Errorf("read tensor %q back: %w", e.Name, err)
		}
		pos = e.end()
	}
	return nil
}

// FromSource describes the tensors of a source by reading its files again, in
// the order of FromModel.
func FromSource(ctx context.Context, src *gpuload.Source, h Hash) ([]Entry, error) {
	headers, err := src.Headers(ctx)
	if err != nil {
		return nil, err
	}
	var files [][]Entry
	var spans []span
	for i, f := range src.Files() {
		file := make([]Entry, 0, len(headers[i].Tensors))
		for _, t := range headers[i].Tensors {
			file = append(file, entryOf(f, t, headers[i].Offset(t)))
		}
		files = append(files, file)
		spans = append(spans, split(f, file)...)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, s := range spans {
		g.Go(func() error { return s.digest(ctx, h) })
	}
	err = g.Wait()
	entries := slices.Concat(files...)
	dropSources(entries)
	return entries, err
}

// span is neighbouring tensors of one file.
type span struct {
	file    *gpuload.File
	entries []Entry
}

// split divides a file's entries, which are in its order, into spans of about
// spanBytes.
func split(f *gpuload.File, entries []Entry) []span {
	var spans []span
	var bytes int64
	begin := 0
	for i, e := range entries {
		if bytes += e.NBytes; bytes >= spanBytes || i == len(entries)-1 {
			spans = append(spans, span{f, entries[begin : i+1]})
			begin, bytes = i+1, 0
		}
	}
	return spans
}

// digest fills in the digests of the span's entries.
func (s span) digest(ctx context.Context, h Hash) error {
	first, last := s.entries[0], s.entries[len(s.entries)-1]
	body, err := s.file.Open(ctx, first.Offset, last.Offset+last.NBytes-first.Offset)
	if err != nil {
		return err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, smallBytes)
	for i := range s.entries {
		if err := digest(ctx, &s.entries[i], h, io.LimitReader(r, s.entries[i].NBytes)); err != nil {
			return fmt.Errorf("read tensor %q of %s: %w", s.entries[i].Name, s.file.Path(), err)
		}
	}
	return nil
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

// digest hashes exactly e.NBytes of r into e.Digest.
func digest(ctx context.Context, e *Entry, h Hash, r io.Reader) error {
	sum := h.new()
	buf := make([]byte, min(copyBytes, max(e.NBytes, 1)))
	for left := e.NBytes; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		_, _ = sum.Write(buf[:n]) // never fails
		left -= int64(n)
	}
	e.Digest = h.String() + ":" + hex.EncodeToString(sum.Sum(nil))
	return nil
}
