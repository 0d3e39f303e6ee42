package gpuload

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"weightfs/gpuload/safetensors"
)

// choose decides which of the names in t are loaded: those of one rank, those
// that the index lists, or all.
func (f *folder) choose(ctx context.Context, shard *Shard, t tree, names []string) ([]string, error) {
	if shard != nil {
		pattern, err := safetensors.ParseRankPattern(cmp.Or(shard.Pattern, safetensors.DefaultRankPattern))
		if err != nil {
			return nil, err
		}
		return pattern.Select(names, shard.Rank)
	}
	index, err := safetensors.FindIndex(names)
	if err != nil {
		return nil, err
	}
	if index != "" {
		text, err := readSmall(ctx, t, index, safetensors.MaxIndexBytes)
		if err != nil {
			return nil, err
		}
		if f.index, err = safetensors.ParseIndex(index, text); err != nil {
			return nil, err
		}
	}
	return safetensors.SelectFiles(names, f.index)
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(ctx context.Context, t tree, name string, limit int64) ([]byte, error) {
	f, err := t.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.blob.Close()
	if f.size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d expected of it", f.path, f.size, limit)
	}
	r, err := f.Open(ctx, 0, f.size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	return text, nil
}

// check looks for tensors that are in two files, or missing from the file that
// an index names. The headers are those of all files, in order.
func (s *Source) check(headers []*safetensors.Header) error {
	all := make([]safetensors.File, 0, len(s.files))
	for i, f := range s.files {
		all = append(all, safetensors.File{Name: f.path, Header: headers[i]})
	}
	for conflict := range safetensors.Conflicts(all, nil) {
		return fmt.Errorf("source %s: %w", s, conflict)
	}
	for _, f := range s.folders {
		if err := f.check(headers[:len(f.files)]); err != nil {
			return err
		}
		headers = headers[len(f.files):]
	}
	return nil
}

// check compares the headers of the folder's files with its index.
func (f *folder) check(headers []*safetensors.Header) error {
	if f.index == nil {
		return nil
	}
	files := make([]safetensors.File, 0, len(f.files))
	for i, file := range f.files {
		files = append(files, safetensors.File{Name: file.name, Header: headers[i]})
	}
	for conflict := range safetensors.Conflicts(files, f.index) {
		return fmt.Errorf("source %s: %w", f.label, conflict)
	}
	return nil
}
