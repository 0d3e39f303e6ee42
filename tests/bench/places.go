package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"weightfs/fs"
	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// place is where a sample finds the files of a dataset.
type place struct {
	found
	// mount counts what is asked for; nil where there is none.
	mount *mount
	// uncounted says that there is one, which counts nothing.
	uncounted bool
	close     func() error
}

// opener makes a place for one sample. f are the dataset's files, which are in the
// bucket and, for the store folder, on disk.
type opener func(ctx context.Context, l *bench, d dataset, f files) (place, error)

// readAt reads a dataset at a place, after it has been read there by others, one
// after the other. Counted is the last time only. Memory is touched before the
// place is made: what touches it makes the kernel reclaim some of its page cache.
func readAt(where store, d dataset, open opener, r readers, before ...readers) sample {
	return sampleAt(where, d, open, true, r, before...)
}

// read is readAt for a new mount. A cold one is mounted before memory is touched,
// unless it is read at once.
func read(spec mountSpec, d dataset, r readers, before ...readers) sample {
	return sampleAt(spec.where, d, mounted(spec), spec.hasty || len(before) > 0, r, before...)
}

func sampleAt(where store, d dataset, open opener, touchFirst bool, r readers, before ...readers) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		f, err := l.dataset(ctx, where, d)
		if err != nil {
			return o, err
		}
		work := l.work
		if touchFirst {
			work = runAndSum
			if err := l.touchNow(ctx); err != nil {
				return o, err
			}
		}
		p, err := open(ctx, l, d, f)
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		for i, earlier := range before {
			if _, err := runAndSum(ctx, workload.Options{}, earlier(l, p.found)...); err != nil {
				return o, fmt.Errorf("read %d before: %w", i+1, err)
			}
		}
		timed := func() (outcome, error) { return work(ctx, workload.Options{}, r(l, p.found)...) }
		if p.mount != nil {
			o, err = p.mount.count(ctx, timed)
		} else {
			o, err = timed()
		}
		o.size, o.uncounted = f.size, p.uncounted
		return o, err
	}
}

// nothingToClose is the close of a place that stays.
func nothingToClose() error { return nil }

// mounted is a new mount.
func mounted(spec mountSpec) opener {
	return func(ctx context.Context, l *bench, d dataset, f files) (place, error) {
		m, err := l.mount(ctx, spec)
		if err != nil {
			return place{}, err
		}
		return place{found: f.in(m.Dir, d), mount: m, close: m.Close}, nil
	}
}

// onDisk is baseline N: the dataset on a disk, without us; in the page cache, or
// not.
func onDisk(warm bool) opener {
	return func(ctx context.Context, l *bench, d dataset, f files) (place, error) {
		p := place{found: f.in(l.localDir(), d), close: nothingToClose}
		if !warm {
			return p, lab.Evict(p.paths...)
		}
		return p, lab.Heat(ctx, 1, p.paths...)
	}
}

// throughMount is onDisk through a mount of the folder.
func throughMount(warm bool) opener { return inOrder(onDisk(warm), mounted(mountSpec{where: folder})) }

// inOrder opens a second place when a first one, which stays, is made.
func inOrder(first, second opener) opener {
	return func(ctx context.Context, l *bench, d dataset, f files) (place, error) {
		if _, err := first(ctx, l, d, f); err != nil {
			return place{}, err
		}
		return second(ctx, l, d, f)
	}
}

// served is N for a file whose cached pages are of 4 KiB, as those of FUSE are:
// the server's own, on tmpfs, read many times.
func served(_ context.Context, l *bench, d dataset, f files) (place, error) {
	return place{found: f.in(filepath.Join(l.Server.Dir, bucket), d), close: nothingToClose}, nil
}

// copied is served for a copy that is written for each sample. So its pages lie in
// memory that was freed a moment ago, as those of a mount do: where a file lies
// moves its rate by a factor of two. With as many reads before they have been used
// as often: the kernel moves a page to its active list at the second use
// (folio_mark_accessed), which takes a fifth to a third of that use's time.
func copied(_ context.Context, l *bench, d dataset, f files) (place, error) {
	dir := filepath.Join(l.Scratch, "copy")
	p := place{found: f.in(dir, d), close: func() error { return os.RemoveAll(dir) }}
	return p, os.CopyFS(filepath.Join(dir, d.name), os.DirFS(filepath.Join(l.Server.Dir, bucket, d.name)))
}

// bare is baseline F: the dataset's size of memory behind go-fuse alone, with the
// readahead that mountd sets.
func bare(ctx context.Context, l *bench, d dataset, _ files) (place, error) {
	dir, err := os.MkdirTemp(l.Disk, "bare-")
	if err != nil {
		return place{}, err
	}
	proc, err := rig.StartProcess(exec.Command(l.barefuse, strconv.FormatInt(int64(l.opts.Size)/4*d.quarters, 10), dir))
	if err != nil {
		return place{}, err
	}
	end := func() error { return errors.Join(proc.Stop(30*time.Second), os.Remove(dir)) }
	if _, err = proc.AwaitOutput(ctx, anything); err == nil {
		err = setReadAhead(dir, fs.DefaultReadAhead)
	}
	if err != nil {
		return place{}, errors.Join(err, end())
	}
	return place{found: found{paths: []string{filepath.Join(dir, "memory")}}, close: end}, nil
}

// anything is what a child first writes.
var anything = regexp.MustCompile(`.`)
