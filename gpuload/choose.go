package gpuload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"weightfs/gpuload/safetensors"
)

// choose decides which of the names in t are loaded: those of one rank, those
// that the index lists, or all.
func (f *folder) choose(ctx context.Context, cfg SourceConfig, t tree, names []string) ([]string, error) {
	if cfg.Shard != nil {
		pattern, err := safetensors.ParseRankPattern(cmp.Or(cfg.Shard.Pattern, safetensors.DefaultRankPattern))
		if err != nil {
			return nil, err
		}
		return pattern.Select(names, cfg.Shard.Rank)
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
	if !cfg.Partial {
		return safetensors.SelectFiles(names, f.index)
	}
	files, problems := safetensors.Survey(names, f.index)
	for _, problem := range problems {
		f.problems = append(f.problems, fmt.Errorf("source %s: %w", f.label, problem))
	}
	return files, nil
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
	text := make([]byte, f.size) // a buffer that grows takes twice the memory
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	return text, nil
}

// check is the first of Problems. The headers are those of all files, in order.
func (s *Source) check(headers []*safetensors.Header) error {
	for _, f := range s.folders {
		for _, problem := range f.problems {
			return problem
		}
	}
	for conflict := range s.conflicts(headers) {
		return conflict
	}
	return nil
}

// maxConflicts is how many conflicts are told one by one: two copies of a file
// have one for each tensor.
const maxConflicts = 1000

// conflicts yields the tensors that are in two files, or missing from the file
// that an index names: the first of them, and that there are more. A header may
// be nil.
func (s *Source) conflicts(headers []*safetensors.Header) iter.Seq[error] {
	return func(yield func(error) bool) {
		told := 0
		for conflict := range s.allConflicts(headers) {
			if told == maxConflicts {
				yield(fmt.Errorf("source %s: more conflicts than these %d", s, told))
				return
			}
			if told++; !yield(conflict) {
				return
			}
		}
	}
}

func (s *Source) allConflicts(headers []*safetensors.Header) iter.Seq[error] {
	return func(yield func(error) bool) {
		all := make([]safetensors.File, 0, len(s.files))
		for i, f := range s.files {
			all = append(all, safetensors.File{Name: f.path, Header: headers[i]})
		}
		for conflict := range safetensors.Conflicts(all, nil) {
			if !yield(fmt.Errorf("source %s: %w", s, conflict)) {
				return
			}
		}
		for _, f := range s.folders {
			for conflict := range f.brokenPromises(headers[:len(f.files)]) {
				if !yield(fmt.Errorf("source %s: %w", f.label, conflict)) {
					return
				}
			}
			headers = headers[len(f.files):]
		}
	}
}

// brokenPromises yields the tensors that the folder's index says are in a file
// and are not. Files that are missing were noticed when the folder was opened,
// tensors that are in two files are told of all folders together.
func (f *folder) brokenPromises(headers []*safetensors.Header) iter.Seq[*safetensors.ShardError] {
	return func(yield func(*safetensors.ShardError) bool) {
		if f.index == nil {
			return
		}
		files := make([]safetensors.File, 0, len(f.files))
		for i, file := range f.files {
			files = append(files, safetensors.File{Name: file.name, Header: headers[i]})
		}
		for conflict := range safetensors.Conflicts(files, f.index) {
			if errors.Is(conflict, safetensors.ErrMissingTensor) && !yield(conflict) {
				return
			}
		}
	}
}
