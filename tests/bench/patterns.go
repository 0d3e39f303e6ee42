package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// safeOpen reads all tensors of the files one after the other, in Python.
func safeOpen(l *bench, in found) []workload.Workload {
	script := filepath.Join(l.Root, "tests", "bench", "workload", "safe_open.py")
	return []workload.Workload{&workload.SafeOpen{Python: l.Python, Script: script, Paths: in.paths}}
}

// random is 1,000 reads of 128 KiB by 8 threads.
func random(_ *bench, in found) []workload.Workload {
	return []workload.Workload{&workload.Mix{Path: in.paths[0], Random: 8, Reads: 1000 / 8, Seed: 1}}
}

// skipping reads one matrix of eight.
func skipping(_ *bench, in found) []workload.Workload {
	return []workload.Workload{&workload.Skip{Path: in.paths[0], Every: 8}}
}

// header opens the file and reads its header.
func header(_ *bench, in found) []workload.Workload {
	return []workload.Workload{&workload.Header{Path: in.paths[0]}}
}

// headerRead opens a file of a distant store and reads its header, where the
// folders down to it have been listed before or not.
func headerRead(where store, listed bool) sample {
	if !listed {
		return read(mountSpec{where: where}, two(), header)
	}
	return read(mountSpec{where: where}, two(), header, func(_ *bench, in found) []workload.Workload {
		return []workload.Workload{&workload.Names{Dir: filepath.Dir(in.paths[0])}}
	})
}

// rankCount is how many processes share a tensor-parallel load.
const rankCount = 8

// rankSpread is between the first and the last rank's start.
const rankSpread = time.Second

// ranks are the processes of a tensor-parallel load of one file.
func ranks(columns bool) readers {
	return func(_ *bench, in found) (all []workload.Workload) {
		for i := range time.Duration(rankCount) {
			all = append(all, &workload.Rank{
				Path: in.paths[0], Rank: int64(i), Of: rankCount, Columns: columns, Delay: rankSpread * i / (rankCount - 1),
			})
		}
		return all
	}
}

// tensorParallel has ranks read a file of four times the memory limit, in a
// memory cgroup of a quarter of the file, so that neither cache holds it.
func tensorParallel(where store, columns bool) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		f, err := l.store(ctx, two())
		if err != nil {
			return o, err
		}
		group, err := rig.NewCgroup("weightfs-bench-readers")
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, group.Close()) }()
		if err := group.SetLimit(f.size / 4); err != nil {
			return o, err
		}
		limit := fmt.Sprintf("--memory-limit=%d", f.size/4)
		o, err = l.withMount(ctx, mountSpec{where: where, flags: []string{limit}}, func(m *mount) (outcome, error) {
			return m.count(ctx, func() (outcome, error) {
				return l.work(ctx, workload.Options{Cgroup: group.Dir()}, ranks(columns)(l, f.in(m.Dir, two()))...)
			})
		})
		o.size = f.size
		return o, err
	}
}

// fixedConcurrencies are compared with each other and with the default.
func fixedConcurrencies() []int { return []int{4, 8, 16, 32, 64} }

// The names of further values.
const (
	adaptive  = "adaptive"
	bestFixed = "the best fixed one"
)

// concurrencies has one reader read with each fixed concurrency, and with the
// adaptive default. Each has its own traffic.
func concurrencies(where store) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		all := outcome{values: map[string]float64{}, parts: map[string]lab.Traffic{}}
		step := func(name string, flags ...string) error {
			o, err := read(mountSpec{where: where, flags: flags}, one(), buffered(1))(ctx, l)
			if err != nil {
				return fmt.Errorf("concurrency %s: %w", name, err)
			}
			all.values[name], all.parts[name] = o.report.Rate(), o.traffic
			return nil
		}
		for _, n := range fixedConcurrencies() {
			name := fmt.Sprint(n)
			if err := step(name, "--concurrency", name); err != nil {
				return all, err
			}
			if all.values[name] > all.values[bestFixed] {
				all.values[bestFixed], all.parts[bestFixed] = all.values[name], all.parts[name]
			}
		}
		return all, step(adaptive)
	}
}

// retained reads model A three times and model B twice, in a cache that holds one
// and a half of them, and then counts what reading B once more fetches.
func retained(ctx context.Context, l *bench) (o outcome, err error) {
	a, err := l.store(ctx, modelA())
	if err != nil {
		return o, err
	}
	b, err := l.store(ctx, modelB())
	if err != nil {
		return o, err
	}
	spec := mountSpec{flags: []string{fmt.Sprintf("--memory-limit=%d", a.size*3/2)}}
	o, err = l.withMount(ctx, spec, func(m *mount) (outcome, error) {
		inA, inB := a.in(m.Dir, modelA()), b.in(m.Dir, modelB())
		for _, in := range []found{inA, inA, inA, inB, inB} {
			if o, err := runAndSum(ctx, workload.Options{}, eighths(1)(l, in)...); err != nil {
				return o, err
			}
		}
		return m.count(ctx, func() (outcome, error) { return l.work(ctx, workload.Options{}, eighths(1)(l, inB)...) })
	})
	o.size = b.size
	return o, err
}
