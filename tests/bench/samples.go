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

// mib is the unit of block sizes.
const mib = 1 << 20

// readers make the workloads that read these files.
type readers func(paths []string) []workload.Workload

// single has one child for each file, which reads as r says.
func single(r workload.Read) readers {
	return func(paths []string) (all []workload.Workload) {
		for _, path := range paths {
			w := r
			w.Path = path
			all = append(all, &w)
		}
		return all
	}
}

// dd reads the files one after the other by dd bs=1M.
func dd(paths []string) []workload.Workload {
	return []workload.Workload{&workload.DD{Paths: paths, Block: mib}}
}

// buffered is n threads that read contiguous parts by 2 MiB, as the streamer
// does.
func buffered(n int) readers {
	return single(workload.Read{Way: workload.Buffered, Threads: n, Block: 2 * mib})
}

// mapped is n threads that copy contiguous parts of a mapping.
func mapped(n int) readers {
	return single(workload.Read{Way: workload.Mapped, Threads: n, Block: mib})
}

// eighths is n threads that read contiguous parts by 8 MiB, past the page cache.
func eighths(n int) readers {
	return single(workload.Read{Way: workload.Direct, Threads: n, Block: 8 * mib})
}

// inTurns is n threads that take parts of 8 MiB in turns, past the page cache, as
// gpuload does, and copy them once more, to memory of the file's size.
func inTurns(n int, to workload.Target, size int64) readers {
	return single(workload.Read{Way: workload.Direct, Threads: n, Block: 8 * mib, Turns: true, Copy: to, Size: size})
}

// twice has each reader two times, at once.
func twice(r readers) readers {
	return func(paths []string) []workload.Workload { return append(r(paths), r(paths)...) }
}

// fill reads nothing but what the page cache lacks of files that were read before.
func fill(paths []string) []workload.Workload {
	return []workload.Workload{&workload.Fill{Paths: paths}}
}

// sweepRuns are the rounds of a sweep on this machine, and before a distant store,
// which is steadier and takes longer.
const sweepRuns, distantRuns = 3, 2

// plainClient is baseline R: the object by ranged GETs, over as many connections
// and in parts as large as are best. whole has it timed from exec to exit.
func plainClient(where store, to workload.Target, whole bool) swept {
	d, runs := one(), sweepRuns
	if where == distant || where == uneven {
		d, runs = two(), distantRuns // swept is the half of it
	}
	name := "R, " + where.String()
	if to != workload.Nowhere {
		name += " and a copy to " + string(to) + " memory"
	}
	requests, settings := lab.Requests()
	get := func(d dataset, touch bool) func(i int) sample {
		return func(i int) sample {
			return func(ctx context.Context, l *bench) (outcome, error) {
				f, err := l.store(ctx, d)
				if err != nil {
					return outcome{}, err
				}
				fetch := workload.Workload(&workload.Fetch{
					Bucket: bucket, Key: d.name + "/" + f.names[0],
					Connections: requests[i].Connections, Part: requests[i].Part, Copy: to,
				})
				if whole {
					fetch = workload.FromExecToExit(fetch)
				}
				work := runAndSum
				if touch {
					work = l.work
				}
				return work(ctx, workload.Options{Env: l.reach(where)}, fetch)
			}
		}
	}
	return swept{
		name: name, settings: settings, score: rate, unit: lab.Rate, runs: runs,
		sample: get(d, true), trial: get(one(), whole), // without whole its memory is ready before the clock starts
	}
}

// worker is work or runAndSum.
type worker func(context.Context, workload.Options, ...workload.Workload) (outcome, error)

// work runs the workloads of a sample, right after memory was touched, and sums
// their reports.
func (l *bench) work(ctx context.Context, opts workload.Options, w ...workload.Workload) (outcome, error) {
	opts.First = l.touch()
	return runAndSum(ctx, opts, w...)
}

// runAndSum is work whose memory has been touched already, or that is not timed.
func runAndSum(ctx context.Context, opts workload.Options, w ...workload.Workload) (outcome, error) {
	reports, err := workload.Run(ctx, opts, w...)
	if err != nil {
		return outcome{}, err
	}
	return outcome{report: workload.Sum(reports)}, nil
}

// workBefore runs what comes before the timed work, one after the other.
func workBefore(ctx context.Context, paths []string, before []readers) error {
	for i, r := range before {
		if _, err := workload.Run(ctx, workload.Options{}, r(paths)...); err != nil {
			return fmt.Errorf("read %d before: %w", i+1, err)
		}
	}
	return nil
}

// read reads a dataset through a new mount, after it has been read by others, one
// after the other. Counted is the last time only.
func read(spec mountSpec, d dataset, r readers, before ...readers) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		f, err := l.place(ctx, spec.where, d)
		if err != nil {
			return o, err
		}
		work := worker(l.work)
		switch {
		case spec.where == folder: // folderRead has touched memory
			work = runAndSum
		case spec.hasty || len(before) > 0:
			if err := l.touchNow(ctx); err != nil {
				return o, err
			}
			work = runAndSum
		}
		m, err := l.mount(ctx, spec)
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		paths := f.paths(m.Dir, d)
		if err := workBefore(ctx, paths, before); err != nil {
			return o, err
		}
		return m.count(ctx, func() (outcome, error) { return work(ctx, workload.Options{}, r(paths)...) })
	}
}

// count adds the traffic of what do does to its outcome.
func (m *mount) count(ctx context.Context, do func() (outcome, error)) (outcome, error) {
	before, err := m.traffic(ctx)
	if err != nil {
		return outcome{}, err
	}
	o, err := do()
	if err != nil {
		return o, err
	}
	after, err := m.traffic(ctx)
	o.traffic = after.Less(before)
	return o, err
}

// place puts the dataset where a mount of the store finds it. What is on disk
// is in the page cache then.
func (l *bench) place(ctx context.Context, where store, d dataset) (files, error) {
	if where == folder {
		return l.local(d)
	}
	return l.store(ctx, d)
}

// localRead is baseline N: a dataset on disk by the same readers, without us;
// warm after one read, or cold after its pages were dropped.
func localRead(d dataset, warm bool, r readers) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.local(d)
		if err != nil {
			return outcome{}, err
		}
		paths := f.paths(l.localDir(), d)
		if err := l.touchNow(ctx); err != nil {
			return outcome{}, err
		}
		if err := heat(ctx, paths, warm); err != nil {
			return outcome{}, err
		}
		return runAndSum(ctx, workload.Options{}, r(paths)...)
	}
}

// smallPages is the same for a file of the same size whose cached pages are of
// 4 KiB, as those of FUSE are: the server's own, on tmpfs, read many times.
func smallPages(d dataset, r readers) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.store(ctx, d)
		if err != nil {
			return outcome{}, err
		}
		if err := l.touchNow(ctx); err != nil {
			return outcome{}, err
		}
		return runAndSum(ctx, workload.Options{}, r(f.paths(filepath.Join(l.plain.Dir, bucket), d))...)
	}
}

// freshCopy is smallPages for a copy that is written for each sample, and read by
// others before. So its pages lie in memory that was freed a moment ago, as those
// of a mount do: where a file lies moves its rate by a factor of two. And they have
// been used as often: the kernel moves a page to its active list at the second use
// (folio_mark_accessed), which takes a fifth to a third of that use's time.
func freshCopy(d dataset, r readers, before ...readers) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		f, err := l.store(ctx, d)
		if err != nil {
			return o, err
		}
		if err := l.touchNow(ctx); err != nil {
			return o, err
		}
		dir := filepath.Join(l.scratch, "copy")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := os.CopyFS(filepath.Join(dir, d.name), os.DirFS(filepath.Join(l.plain.Dir, bucket, d.name))); err != nil {
			return o, err
		}
		paths := f.paths(dir, d)
		if err := workBefore(ctx, paths, before); err != nil {
			return o, err
		}
		return runAndSum(ctx, workload.Options{}, r(paths)...)
	}
}

// folderRead is localRead through a mount of the folder.
func folderRead(d dataset, warm bool, r readers) sample {
	mounted := read(mountSpec{where: folder}, d, r)
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.local(d)
		if err != nil {
			return outcome{}, err
		}
		if err := l.touchNow(ctx); err != nil {
			return outcome{}, err
		}
		if err := heat(ctx, f.paths(l.localDir(), d), warm); err != nil {
			return outcome{}, err
		}
		return mounted(ctx, l)
	}
}

// heat has all of files on disk in the page cache, or nothing.
func heat(ctx context.Context, paths []string, warm bool) error {
	if warm {
		return workBefore(ctx, paths, []readers{dd, fill})
	}
	return lab.Evict(paths...)
}

// bareFuse is baseline F: the dataset's size of memory behind go-fuse alone,
// after the reads before, with the readahead that mountd sets.
func bareFuse(d dataset, r readers, before ...readers) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		if err := l.touchNow(ctx); err != nil {
			return o, err
		}
		dir, err := os.MkdirTemp(l.disk, "bare-")
		if err != nil {
			return o, err
		}
		proc, err := rig.StartProcess(exec.Command(l.barefuse, strconv.FormatInt(int64(l.opts.Size)/4*d.quarters, 10), dir))
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, proc.Stop(30*time.Second), os.Remove(dir)) }()
		if _, err := proc.AwaitOutput(ctx, anything); err != nil {
			return o, err
		}
		if err := setReadAhead(dir, fs.DefaultReadAhead); err != nil {
			return o, err
		}
		paths := []string{filepath.Join(dir, "memory")}
		if err := workBefore(ctx, paths, before); err != nil {
			return o, err
		}
		return runAndSum(ctx, workload.Options{}, r(paths)...)
	}
}

// anything is what a child first writes.
var anything = regexp.MustCompile(`.`)
