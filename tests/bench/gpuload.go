package main

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"

	"weightfs/tests/bench/workload"
)

// gpuload loads a dataset onto the CPU device: from the bucket on loopback
// itself, or from a local folder whose pages are cached. Nobody counts requests
// on loopback, so that the load is repeated for it.
func gpuload(where store, d dataset, flags ...string) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.place(ctx, where, d)
		if err != nil {
			return outcome{}, err
		}
		work := worker(l.work)
		source := "s3://" + bucket + "/" + d.name + "/"
		if where == folder {
			source, work = filepath.Join(l.localDir(), d.name), runAndSum
			if err := l.touchNow(ctx); err != nil {
				return outcome{}, err
			}
			if err := heat(ctx, f.paths(l.localDir(), d), true); err != nil {
				return outcome{}, err
			}
		}
		o, err := l.load(ctx, work, where, source, flags...)
		if err != nil || where == folder {
			return o, err
		}
		o.traffic, err = l.requestsOf(func() (outcome, error) {
			return runAndSum(ctx, workload.Options{Env: l.env(distant)}, l.loader(source, flags...))
		})
		return o, err
	}
}

// gpuloadMounted loads a dataset through a new mount.
func gpuloadMounted(spec mountSpec, d dataset) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		if _, err := l.place(ctx, spec.where, d); err != nil {
			return o, err
		}
		m, err := l.mount(ctx, spec)
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		return m.count(ctx, func() (outcome, error) {
			return l.load(ctx, l.work, spec.where, filepath.Join(m.Dir, d.name))
		})
	}
}

// readAndCopy is what a loader onto the CPU cannot beat: a thread for each
// processor reads a block, as large as its cache can hold, and copies it to its
// place in memory.
func readAndCopy(d dataset, to workload.Target) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.local(d)
		if err != nil {
			return outcome{}, err
		}
		loop := workload.Read{
			Way: workload.Buffered, Threads: runtime.NumCPU(), Block: mib / 2, Turns: true, Copy: to, Size: f.size,
		}
		return localRead(d, true, single(loop))(ctx, l)
	}
}

// mountedReadAndCopy is the same through a new mount, by the readers that the
// mount's own rows have.
func mountedReadAndCopy(spec mountSpec, d dataset, to workload.Target) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		f, err := l.place(ctx, spec.where, d)
		if err != nil {
			return outcome{}, err
		}
		return coldRead(spec, d, inTurns(8, to, f.size))(ctx, l)
	}
}

// loader is a run of gpuload.
func (l *bench) loader(source string, flags ...string) *workload.Gpuload {
	args := append([]string{"--device", "cpu", "--progress", "none"}, flags...)
	return &workload.Gpuload{Program: l.programs.Gpuload, Args: append(args, source)}
}

// load times a run of gpuload by work or runAndSum. The report's time is what gpuload says of the load.
func (l *bench) load(ctx context.Context, work worker, where store, source string, flags ...string) (outcome, error) {
	o, err := work(ctx, workload.Options{Env: l.env(where)}, l.loader(source, flags...))
	if err == nil {
		o.report.End = o.report.Begin + o.report.Latencies[0]
	}
	return o, err
}
