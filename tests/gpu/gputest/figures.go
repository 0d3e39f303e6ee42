package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"weightfs/tests/lab"
)

// What is promised of a load onto a GPU.
const (
	// The loader against the bare loop over the same source, in one run: over
	// files, and over the store.
	leastOfLoop, leastOfClient = 0.85, 0.90
	// leastOfLoadFile is the loader over local files against safetensors' own.
	leastOfLoadFile = 5
	// stagingCap is page-locked memory under the default limits.
	stagingCap = 1 << 30
)

// measureAll prints the table of figures and holds them to the promises.
func measureAll(ctx context.Context, r *suite, s *score) error {
	dir := r.path("large")
	if _, err := r.output(ctx, "mkcheckpoint", "--shards", "4", "--size", fmt.Sprint(r.size), dir); err != nil {
		return err
	}
	scenarios, err := r.scenarios(ctx, dir, "s3://"+bucket+"/large")
	if err != nil {
		return err
	}
	var rows, inside [][]string
	var local float64
	for i, sc := range scenarios {
		o, err := r.measure(ctx, sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		rows, inside = append(rows, o.row(sc.name)), append(inside, o.inside(sc.name))
		o.judge(s, sc, r.device != "cpu")
		if i == 0 {
			local = lab.MedianOf(o.loads, sample.steady)
		}
	}
	others := r.others(ctx, scenarios[0].files)
	s.judgeLoadFile(local, others[0])
	r.print(rows, inside, others)
	return nil
}

// measure runs both programs in turn, after one run of each that does not count.
func (r *suite) measure(ctx context.Context, sc scenario) (o outcome, err error) {
	load := func(ctx context.Context) (sample, error) { return r.load(ctx, sc.source) }
	loop := func(ctx context.Context) (sample, error) { return r.bareloop(ctx, sc) }
	if _, err := lab.InTurns(ctx, 1, load, loop); err != nil {
		return o, err
	}
	rounds, err := lab.InTurns(ctx, r.runs, func(ctx context.Context) (sample, error) {
		if err := sc.holds(ctx); err != nil {
			return sample{}, err
		}
		return load(ctx)
	}, loop)
	for _, round := range rounds {
		o.loads, o.loops = append(o.loads, round[0]), append(o.loops, round[1])
	}
	return o, errors.Join(err, sc.holds(ctx))
}

func (r *suite) print(rows, inside [][]string, others []other) {
	fmt.Printf("\n%s\n%.1f GiB of bf16 in four shards, medians of %d runs after one to warm up. "+
		"Seconds are from exec to exit; GB/s begin when the device is ready, or another loader's imports are done. "+
		"The bare loop opens the device, page-locks and copies one after the other.\n\n%s\nInside gpuload, in milliseconds:\n\n%s",
		machine(), float64(r.size)/(1<<30), r.runs, lab.Table(columns(), rows), lab.Table(append([]string{"from"}, lab.PhaseHead()...), inside))
	var beside [][]string
	for _, o := range others {
		beside = append(beside, o.row())
	}
	fmt.Printf("\nThe same local files, onto %s, by others:\n\n%s", r.device, lab.Table([]string{"loader", "version", "s:", "then GB/s:"}, beside))
}

// machine is a line about this one.
func machine() string {
	driver, err := os.ReadFile("/proc/driver/nvidia/version")
	if errors.Is(err, os.ErrNotExist) {
		driver = []byte("no NVIDIA driver")
	}
	first, _, _ := strings.Cut(string(driver), "\n")
	return lab.Machine(time.Now()) + ", " + first + "."
}
