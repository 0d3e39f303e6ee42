package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
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
		o, err := work(ctx, workload.Options{Env: l.reach(where)}, l.loader(source, flags...))
		if err != nil || where == folder {
			return o, err
		}
		if _, err := runAndSum(ctx, workload.Options{Env: l.through(proxy.Shape{})}, l.loader(source, flags...)); err != nil {
			return o, fmt.Errorf("count the requests: %w", err)
		}
		o.traffic = l.proxyTraffic()
		return o, nil
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
			return l.work(ctx, workload.Options{}, l.loader(filepath.Join(m.Dir, d.name)))
		})
	}
}

// timed has readers timed from exec to exit where whole says so.
func timed(r readers, whole bool) readers {
	return func(paths []string) []workload.Workload {
		all := r(paths)
		for i := range all {
			if whole {
				all[i] = workload.FromExecToExit(all[i])
			}
		}
		return all
	}
}

// readAndCopy is what a loader onto the CPU cannot beat: threads read blocks, in
// turns, and copy each to its place in memory.
func readAndCopy(to workload.Target, whole bool) swept {
	var loops []workload.Read
	var settings []string
	for _, threads := range []int{runtime.NumCPU(), 2 * runtime.NumCPU()} {
		for _, kib := range []int64{256, 512, 2048} {
			loops = append(loops, workload.Read{Way: workload.Buffered, Threads: threads, Block: kib << 10, Turns: true, Copy: to})
			settings = append(settings, fmt.Sprintf("%d x %d KiB", threads, kib))
		}
	}
	name := "parallel read and copy to " + string(to) + " memory"
	return swept{name: name, settings: settings, score: rate, unit: lab.Rate, runs: sweepRuns, sample: func(i int) sample {
		return func(ctx context.Context, l *bench) (outcome, error) {
			f, err := l.local(one())
			if err != nil {
				return outcome{}, err
			}
			loop := loops[i]
			loop.Size = f.size
			return localRead(one(), true, timed(single(loop), whole))(ctx, l)
		}
	}}
}

// mountedTurns is the same through a new mount, by the readers that the mount's
// own rows have.
func mountedTurns(to workload.Target, whole bool) swept {
	readers := []int{4, 8, 16}
	name := "readers, O_DIRECT"
	if to != workload.Nowhere {
		name += ", and a copy to " + string(to) + " memory"
	}
	return swept{name: name, settings: []string{"4", "8", "16"}, score: rate, unit: lab.Rate, runs: sweepRuns, sample: func(i int) sample {
		return func(ctx context.Context, l *bench) (outcome, error) {
			f, err := l.store(ctx, one())
			if err != nil {
				return outcome{}, err
			}
			return read(mountSpec{}, one(), timed(inTurns(readers[i], to, f.size), whole))(ctx, l)
		}
	}}
}

// loader is a run of gpuload.
func (l *bench) loader(source string, flags ...string) *workload.Gpuload {
	args := append([]string{"--device", "cpu", "--progress", "none"}, flags...)
	return &workload.Gpuload{Program: l.programs.Gpuload, Args: append(args, source)}
}
