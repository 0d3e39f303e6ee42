package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
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
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 4, Size: r.size})
	if err != nil {
		return err
	}
	scenarios, err := r.scenarios(ctx, dir, names, "s3://"+bucket+"/large")
	if err != nil {
		return err
	}
	others := r.others(ctx, scenarios[0].files)
	var figures []lab.Figure
	var inside [][]string
	for i, sc := range scenarios {
		rounds, err := r.measure(ctx, sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		var loads []lab.Load
		for _, round := range rounds {
			loads = append(loads, round[0])
		}
		figures = append(figures, sc.figures(rounds, r.device != "cpu")...)
		inside = append(inside, append([]string{sc.name}, lab.Inside(loads)...))
		switch loadFile := others[0]; {
		case i > 0:
		case loadFile.absent != "":
			s.skip("beside safetensors' load_file", loadFile.absent)
		default:
			figures = append(figures, besideLoadFile(sc.name, lab.MedianOf(loads, steady), loadFile.rate))
		}
	}
	for _, f := range figures {
		s.judge(f)
	}
	r.print(figures, inside, others)
	return nil
}

// measure runs gpuload and the bare loop in turns, after one run of each that does
// not count.
func (r *suite) measure(ctx context.Context, sc scenario) ([][]lab.Load, error) {
	load := func(ctx context.Context) (lab.Load, error) { return r.load(ctx, sc.source) }
	loop := func(ctx context.Context) (lab.Load, error) { return r.bareloop(ctx, sc) }
	if _, err := lab.InTurns(ctx, 1, load, loop); err != nil {
		return nil, err
	}
	rounds, err := lab.InTurns(ctx, r.runs, func(ctx context.Context) (lab.Load, error) {
		if err := sc.holds(ctx); err != nil {
			return lab.Load{}, err
		}
		return load(ctx)
	}, loop)
	return rounds, errors.Join(err, sc.holds(ctx))
}

// whole is bytes per second from exec to exit.
func whole(l lab.Load) float64 { return float64(l.Bytes) / l.Whole }

// steady is bytes per second once the device was ready: gpuload reads while it is
// being opened.
func steady(l lab.Load) float64 {
	return float64(l.Bytes) / (l.Seconds - max(l.Phases.Device-l.Phases.Open, 0))
}

// figures are what rounds of gpuload and the bare loop came to; overlap only of a
// device that takes time to open. What a process takes to start and to end, and a
// device to open, is as long on both sides, and brings the ratio from exec to exit
// near to 1: so the steady one is held to the same.
func (sc scenario) figures(rounds [][]lab.Load, overlap bool) []lab.Figure {
	figure := func(name string, unit lab.Unit, baseline string, target lab.Target, pair func(load, loop lab.Load) lab.Pair) lab.Figure {
		f := lab.Figure{Row: sc.name, Spec: lab.Spec{Name: name, Unit: unit, Baseline: baseline, Target: target}}
		for _, round := range rounds {
			f.Pairs = append(f.Pairs, pair(round[0], round[1]))
		}
		return f
	}
	all := []lab.Figure{
		figure("from exec to exit", lab.Rate, "bare loop", lab.AtLeast(sc.least), func(load, loop lab.Load) lab.Pair {
			return lab.Pair{Base: whole(loop), Load: whole(load)}
		}),
		figure("once the device is ready", lab.Rate, "bare loop", lab.AtLeast(sc.least), func(load, loop lab.Load) lab.Pair {
			return lab.Pair{Base: steady(loop), Load: steady(load)}
		}),
		figure("page-locked memory", lab.MemoryBytes, "1 GiB", lab.AtMost(1), func(load, _ lab.Load) lab.Pair {
			return lab.Pair{Base: stagingCap, Load: float64(load.PageLocked)}
		}),
	}
	if overlap && sc.overlaps {
		all = append(all, figure("first byte", lab.Time, "device ready", lab.AtMost(1), func(load, _ lab.Load) lab.Pair {
			return lab.Pair{Base: load.Phases.Device, Load: load.Phases.Open + load.Phases.FirstByte}
		}))
	}
	return all
}

// besideLoadFile compares rates without what it takes to get ready: Python and
// torch take seconds for that.
func besideLoadFile(row string, rate, loadFile float64) lab.Figure {
	return lab.Figure{
		Row: row, Spec: lab.Spec{Name: "then", Unit: lab.Rate, Baseline: "safetensors' load_file", Target: lab.AtLeast(leastOfLoadFile)},
		Pairs: []lab.Pair{{Base: loadFile, Load: rate}},
	}
}

func (r *suite) print(figures []lab.Figure, inside [][]string, others []other) {
	fmt.Printf("\n%s\n%.1f GiB of bf16 in four shards, medians of %d runs after one to warm up. "+
		"The bare loop opens the device, page-locks and copies one after the other.\n\n%s\nInside gpuload, in milliseconds:\n\n%s",
		machine(), float64(r.size)/(1<<30), r.runs, lab.Promises(figures), lab.Table(append([]string{"from"}, lab.PhaseHead()...), inside))
	var beside [][]string
	for _, o := range others {
		beside = append(beside, o.row())
	}
	fmt.Printf("\nThe same local files, onto %s, by others, from exec to exit, and once their imports are done:\n\n%s",
		r.device, lab.Table([]string{"loader", "version", "s:", "then GB/s:"}, beside))
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
