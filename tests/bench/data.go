package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// dataset is a checkpoint in a folder of its own, in the bucket and, where a
// row asks for it, on disk.
type dataset struct {
	name string
	// quarters is its size, in quarters of the object's size.
	quarters int64
	shards   int
}

func one() dataset    { return dataset{"one", 4, 1} }
func two() dataset    { return dataset{"two", 8, 1} }
func shards() dataset { return dataset{"shards", 8, 4} }
func modelA() dataset { return dataset{"a", 2, 1} }
func modelB() dataset { return dataset{"b", 2, 1} }

// eight is larger than the largest limit of the memory rows.
func eight() dataset { return dataset{"eight", 20, 8} }

// files are the names of a dataset's shards, below its folder, and the bytes of
// all.
type files struct {
	names []string
	size  int64
}

// in are the shards below the folder that holds the dataset's.
func (f files) in(dir string, d dataset) found {
	all := found{size: f.size}
	for _, name := range f.names {
		all.paths = append(all.paths, filepath.Join(dir, d.name, name))
	}
	return all
}

// write makes the dataset's folder in dir.
func (l *bench) write(d dataset, dir string) (files, error) {
	sub := filepath.Join(dir, d.name)
	if err := os.Mkdir(sub, 0o755); err != nil {
		return files{}, err
	}
	names, err := rig.WriteCheckpoint(sub, rig.Checkpoint{
		Size: int64(l.opts.Size) / 4 * d.quarters, Shards: d.shards,
		Dtypes: []string{"F16"}, // numpy has no bfloat16
		Seed:   uint64(d.quarters)<<8 + uint64(d.name[0]),
	})
	if err != nil {
		return files{}, err
	}
	f := files{names: names}
	for _, path := range f.in(dir, d).paths {
		info, err := os.Stat(path)
		if err != nil {
			return files{}, err
		}
		f.size += info.Size()
	}
	return f, nil
}

// store returns the dataset in the bucket, which it makes the first time.
func (l *bench) store(ctx context.Context, d dataset) (files, error) {
	if f, ok := l.stored[d.name]; ok {
		return f, nil
	}
	original := filepath.Join(l.Scratch, "original")
	if err := os.Mkdir(original, 0o755); err != nil {
		return files{}, err
	}
	f, err := l.write(d, original)
	if err == nil {
		err = l.Server.PutDir(ctx, bucket, "", original)
	}
	// The original would take as much memory again.
	if err = errors.Join(err, os.RemoveAll(original)); err != nil {
		return files{}, fmt.Errorf("dataset %s: %w", d.name, err)
	}
	l.stored[d.name] = f
	return f, nil
}

// storeOnly is store after all other datasets have been removed, to make room.
func (l *bench) storeOnly(ctx context.Context, d dataset) (files, error) {
	for name := range l.stored {
		if name == d.name {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.Server.Dir, bucket, name)); err != nil {
			return files{}, err
		}
		delete(l.stored, name)
	}
	return l.store(ctx, d)
}

// local returns the dataset on disk, which it makes the first time.
func (l *bench) local(d dataset) (files, error) {
	if f, ok := l.copied[d.name]; ok {
		return f, nil
	}
	dir := l.localDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return files{}, err
	}
	f, err := l.write(d, dir)
	if err != nil {
		return files{}, fmt.Errorf("local dataset %s: %w", d.name, err)
	}
	unix.Sync() // so that nothing is written while something is timed
	l.copied[d.name] = f
	return f, nil
}

// dataset makes a dataset, the first time, where a mount of the store finds it.
// What is on disk is in the page cache then.
func (l *bench) dataset(ctx context.Context, where store, d dataset) (files, error) {
	if where == folder {
		return l.local(d)
	}
	return l.store(ctx, d)
}

// localDir is the folder of local datasets.
func (l *bench) localDir() string { return filepath.Join(l.Disk, "local") }
