package main

import (
	"context"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// mib is the unit of block sizes.
const mib = 1 << 20

// found are the files of a dataset where a sample finds them.
type found struct {
	paths []string
	size  int64 // of all
}

// readers make the workloads that read these files.
type readers func(l *bench, in found) []workload.Workload

// single has one child for each file, which reads as r says. What copies reads one
// file.
func single(r workload.Read) readers {
	return func(_ *bench, in found) (all []workload.Workload) {
		for _, path := range in.paths {
			w := r
			w.Path, w.Size = path, in.size
			all = append(all, &w)
		}
		return all
	}
}

// dd reads the files one after the other by dd bs=1M.
func dd(_ *bench, in found) []workload.Workload {
	return []workload.Workload{&workload.DD{Paths: in.paths, Block: mib}}
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
func inTurns(n int, to workload.Target) readers {
	return single(workload.Read{Way: workload.Direct, Threads: n, Block: 8 * mib, Turns: true, Copy: to})
}

// twice has each reader two times, at once.
func twice(r readers) readers {
	return func(l *bench, in found) []workload.Workload { return append(r(l, in), r(l, in)...) }
}

// fill reads nothing but what the page cache lacks of files that were read before.
func fill(_ *bench, in found) []workload.Workload {
	return []workload.Workload{&workload.Fill{Paths: in.paths}}
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
