package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"weightfs/cmd/cli"
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

// run measures gpuload and the bare loop in turns, after one run of each that does
// not count, prints the figures and holds them to the promises.
func (sc scenario) run(ctx context.Context, r *suite, s *report) error {
	if r.large == nil {
		return errNoCheckpoint
	}
	load := func(ctx context.Context) (lab.Load, error) {
		return sc.once(ctx, r, func(ctx context.Context, root string) (lab.Load, error) { return r.load(ctx, root) })
	}
	loop := func(ctx context.Context) (lab.Load, error) {
		return sc.once(ctx, r, func(ctx context.Context, root string) (lab.Load, error) {
			return r.bareloop(ctx, under(root, r.large), sc.flags...)
		})
	}
	if _, err := lab.InTurns(ctx, 1, load, loop); err != nil {
		return err
	}
	rounds, err := lab.InTurns(ctx, r.runs, load, loop)
	if len(rounds) == 0 {
		return err
	}
	var loads []lab.Load
	for _, round := range rounds {
		loads = append(loads, round[0])
	}
	if sc.overlaps {
		r.loads = loads
	}
	figures := sc.figures(rounds, r.device != "cpu")
	var rows [][]string
	for _, f := range figures {
		target := "none"
		if f.Target != (lab.Target{}) {
			target = f.Target.String()
			s.judge(f)
		}
		rows = append(rows, []string{f.Name, f.Baseline, f.Unit.Format(f.Base()), f.Unit.Format(f.Load()), fmt.Sprintf("%.3g", f.Ratio()), target})
	}
	s.table(fmt.Sprintf("%.1f GiB of bf16 in eight shards, %d runs. The bare loop opens the device, page-locks and copies one after the other.",
		float64(r.size)/(1<<30), len(rounds)), lab.Table([]string{"figure", "baseline", "baseline's:", "gpuload's:", "ratio:", "target"}, rows))
	s.table("Inside gpuload:", lab.Table(lab.PhaseHead(), [][]string{lab.Inside(loads)}))
	return err
}

// errNoCheckpoint is why nothing is measured.
var errNoCheckpoint = errors.New("there is no large checkpoint")

// measureBus prints the rate of copies by their size and the number of streams.
func measureBus(ctx context.Context, r *suite, s *report) error {
	if r.large == nil {
		return errNoCheckpoint
	}
	text, err := r.output(ctx, "gpuload", "bench", filepath.Join(r.path("large"), r.large[0]), "--device", r.device, "--sweep", "8", "--json", "--plot=")
	if err != nil {
		return err
	}
	var said struct {
		Bus []struct {
			PieceBytes     int64   `json:"piece_bytes"`
			Streams        int     `json:"streams"`
			BytesPerSecond float64 `json:"bytes_per_second"`
		} `json:"bus"`
		Bottleneck string `json:"bottleneck"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return fmt.Errorf("gpuload bench: %w: %.200q", err, text)
	}
	var rows [][]string
	for _, b := range said.Bus {
		rows = append(rows, []string{cli.FormatSize(b.PieceBytes), fmt.Sprint(b.Streams), fmt.Sprintf("%.2f", b.BytesPerSecond/1e9)})
	}
	s.table("From page-locked memory to the device; a load of one shard is bound by "+said.Bottleneck+".", lab.Table([]string{"copies of", "streams", "GB/s:"}, rows))
	return nil
}

// whole is bytes per second from exec to exit.
func whole(l lab.Load) float64 { return float64(l.Bytes) / l.Whole }

// steady is bytes per second once the device was ready: gpuload reads while it is
// being opened.
func steady(l lab.Load) float64 { return float64(l.Bytes) / (l.Seconds - l.Phases.Context) }

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
	var least lab.Target
	if sc.least > 0 {
		least = lab.AtLeast(sc.least)
	}
	all := []lab.Figure{
		figure("from exec to exit", lab.Rate, "bare loop", least, func(load, loop lab.Load) lab.Pair {
			return lab.Pair{Base: whole(loop), Load: whole(load)}
		}),
		figure("once the device is ready", lab.Rate, "bare loop", least, func(load, loop lab.Load) lab.Pair {
			return lab.Pair{Base: steady(loop), Load: steady(load)}
		}),
		figure("page-locked memory", lab.MemoryBytes, "1 GiB", lab.AtMost(1), func(load, _ lab.Load) lab.Pair {
			return lab.Pair{Base: stagingCap, Load: float64(load.PageLocked)}
		}),
	}
	if overlap && sc.overlaps {
		all = append(all, figure("first byte", lab.Time, "device ready", lab.AtMost(1), func(load, _ lab.Load) lab.Pair {
			return lab.Pair{Base: load.Phases.Context, Load: load.Phases.FirstByte}
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
