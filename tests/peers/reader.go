package main

import (
	"context"

	"weightfs/tests/bench/workload"
)

// reader is one way in which a mounted object is read.
type reader struct {
	name string
	read func(ctx context.Context, l *lab, path string) (seconds float64, err error)
}

// readers are what every mount has to serve.
func readers() []reader {
	return []reader{
		{"dd bs=1M", worked(func(path string) workload.Workload {
			return &workload.DD{Paths: []string{path}, Block: 1 << 20}
		})},
		{"16 readers of one file", worked(func(path string) workload.Workload {
			return &workload.Read{Path: path, Way: workload.Buffered, Threads: 16, Block: 2 << 20}
		})},
		loading(loadFile()),
		loading(streamer()),
	}
}

// worked is a workload of the benchmarks.
func worked(make func(path string) workload.Workload) func(context.Context, *lab, string) (float64, error) {
	return func(ctx context.Context, _ *lab, path string) (float64, error) {
		reports, err := workload.Run(ctx, workload.Options{}, make(path))
		if err != nil {
			return 0, err
		}
		return reports[0].Seconds(), nil
	}
}

// loading is a client that loads from a path.
func loading(c client) reader {
	return reader{c.name, func(ctx context.Context, l *lab, path string) (float64, error) {
		r, err := l.load(ctx, c, path, l.server.Endpoint)
		return r.seconds, err
	}}
}
