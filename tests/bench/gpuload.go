package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// gpuload loads a dataset onto the CPU device: from the bucket on loopback itself,
// or from a local folder whose pages are cached. Nobody counts requests on
// loopback, so that the load is repeated for it.
func gpuload(where store, d dataset, flags ...string) sample {
	if where == folder {
		return readAt(folder, d, onDisk(true), loader(flags...))
	}
	return func(ctx context.Context, l *bench) (outcome, error) {
		if _, err := l.store(ctx, d); err != nil {
			return outcome{}, err
		}
		load := loader(flags...)(l, found{paths: []string{"s3://" + bucket + "/" + d.name + "/"}})
		o, err := l.work(ctx, workload.Options{Env: l.reach(where)}, load...)
		if err != nil {
			return o, err
		}
		if _, err := runAndSum(ctx, workload.Options{Env: l.through(proxy.Shape{})}, load...); err != nil {
			return o, fmt.Errorf("count the requests: %w", err)
		}
		o.traffic = l.proxyTraffic()
		return o, nil
	}
}

// loader is a run of gpuload over the folder of the first path.
func loader(flags ...string) readers {
	return func(l *bench, in found) []workload.Workload {
		folder := in.paths[0][:strings.LastIndexByte(in.paths[0], '/')+1]
		args := append([]string{"--device", "cpu", "--progress", "none"}, flags...)
		return []workload.Workload{&workload.Gpuload{Program: l.Gpuload, Args: append(args, folder)}}
	}
}

// timed has readers timed from exec to exit where whole says so.
func timed(r readers, whole bool) readers {
	return func(l *bench, in found) []workload.Workload {
		all := r(l, in)
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
		return readAt(folder, one(), onDisk(true), timed(single(loops[i]), whole))
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
		return read(mountSpec{}, one(), timed(inTurns(readers[i], to), whole))
	}}
}
