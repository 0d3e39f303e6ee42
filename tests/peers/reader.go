package main

import (
	"context"
	"fmt"

	"weightfs/tests/bench/workload"
)

// reader is one way in which a mounted object is read.
type reader struct {
	name string
	// pattern says that it is one of those that advice is given for, which are
	// also measured on a local file; only is for nothing but that.
	pattern, only bool
	read          func(ctx context.Context, l *lab, path string) (seconds float64, err error)
}

// readers are what every mount has to serve.
func readers() []reader {
	return []reader{
		{name: "dd bs=1M", read: worked(func(path string) workload.Workload {
			return &workload.DD{Paths: []string{path}, Block: 1 << 20}
		})},
		{name: "16 readers of one file", read: worked(func(path string) workload.Workload {
			return &workload.Read{Path: path, Way: workload.Buffered, Threads: 16, Block: 2 << 20}
		})},
		loading(strategy("load_file"), false),
		loading(strategy("lazy"), true),
		loading(strategy("eager"), true),
		loading(strategy("prefetch"), true),
		loading(streamer(), false),
		loading(client{name: "gpuload"}, true),
	}
}

// worked is a workload of the benchmarks.
func worked(make func(path string) workload.Workload) func(context.Context, *lab, string) (float64, error) {
	return func(ctx context.Context, l *lab, path string) (float64, error) {
		reports, err := workload.Run(ctx, workload.Options{}, make(path))
		if err != nil {
			return 0, err
		}
		if reports[0].Bytes != l.size {
			return 0, fmt.Errorf("read %d bytes, not %d", reports[0].Bytes, l.size)
		}
		return reports[0].Seconds(), nil
	}
}

// loading is a client that loads from a path.
func loading(c client, only bool) reader {
	read := func(ctx context.Context, l *lab, path string) (float64, error) {
		r, err := l.load(ctx, c, path, l.server.Endpoint)
		return r.seconds, err
	}
	return reader{name: c.name, pattern: true, only: only, read: read}
}
