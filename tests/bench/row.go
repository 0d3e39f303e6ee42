package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// sampleLimit bounds one sample of one side, with the sweep before the first one.
const sampleLimit = 8 * time.Minute

// row is one comparison: a baseline and a load, and what of them is compared.
type row struct {
	name string
	// state says what is cold or warm.
	state string
	// base may be nil where the figures' baselines are constants.
	base, load sample
	compare    []comparison
	effort     effort
}

// effort is how many samples a row takes of each side.
type effort uint8

const (
	usual effort = iota // as the flag says
	many                // so short that the host moves them
	few                 // long or steady ones, or nothing but printed
	lone                // one
)

// samples is how many those are, where the flag says runs.
func (e effort) samples(runs int) int {
	return [...]int{usual: runs, many: (3*runs - 1) / 2, few: (runs + 1) / 2, lone: 1}[e]
}

// sample measures one side once.
type sample func(ctx context.Context, l *bench) (outcome, error)

// outcome is what came of a sample.
type outcome struct {
	report  workload.Report
	size    int64 // of the dataset, in bytes
	traffic lab.Traffic
	// parts are the traffic of single figures, by their names, where they are not
	// all of one load.
	parts map[string]lab.Traffic
	// uncounted says that nobody has counted the traffic.
	uncounted bool
	// values are further numbers, by the names that the sample gives them.
	values map[string]float64
}

// trafficOf is what the load asked for, for the figure of a name; false where
// that is not known.
func (o outcome) trafficOf(name string) (lab.Traffic, bool) {
	if t, ok := o.parts[name]; ok {
		return t, true
	}
	return o.traffic, !o.uncounted
}

// results are the figures of a run.
type results struct {
	figures []lab.Figure
	// memory is what mountd held over time, for each memory row.
	memory []lab.Series
	sweeps []*lab.Sweep
	// inside are the cells of lab.PhaseHead for the rows of gpuload.
	inside [][]string
	failed []error
	ended  error // why rows are missing, or nil
	began  time.Time
}

// runAll measures the rows one after the other. One that fails is noted.
func (l *bench) runAll(ctx context.Context, chosen []row) results {
	all := results{began: l.Began}
	for i, r := range chosen {
		figures, err := l.run(ctx, r, &all)
		figures = slices.DeleteFunc(figures, func(f lab.Figure) bool { return len(f.Pairs) == 0 })
		for _, f := range figures {
			fmt.Println(f.Line())
		}
		all.figures = append(all.figures, figures...)
		if err != nil && ctx.Err() != nil {
			all.ended = fmt.Errorf("ended after %d of %d rows: %w", i, len(chosen), context.Cause(ctx))
			break
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", r.name, err)
			fmt.Println("FAILED", err)
			all.failed = append(all.failed, err)
		}
	}
	all.memory, all.sweeps = l.memory, l.sweeps
	return all
}

// run measures one row. With an error come the figures of the samples before.
func (l *bench) run(ctx context.Context, r row, all *results) ([]lab.Figure, error) {
	figures := make([]lab.Figure, len(r.compare))
	for i, c := range r.compare {
		figures[i] = lab.Figure{Row: r.name, State: r.state, Spec: c.Spec}
	}
	sides := []func(context.Context) (outcome, error){l.side(r.load)}
	if r.base != nil {
		sides = append(sides, l.side(r.base))
	}
	rounds, err := lab.InTurns(ctx, r.effort.samples(l.opts.Runs), sides...)
	var loads []lab.Load
	for _, round := range rounds {
		load, base := round[0], round[len(round)-1]
		for i, c := range r.compare {
			figures[i].Pairs = append(figures[i].Pairs, c.pair(base, load))
			if t, counted := load.trafficOf(c.Name); counted {
				figures[i].Traffic = append(figures[i].Traffic, t)
			}
		}
		if load.report.Load != nil {
			loads = append(loads, *load.report.Load)
		}
	}
	if len(loads) > 0 {
		all.inside = append(all.inside, append([]string{r.name}, lab.Inside(loads)...))
	}
	return figures, err
}

// side is a sample within its time. The rounds of a row differ by what a store
// with a tail does, the sides of a round do not.
func (l *bench) side(take sample) func(context.Context) (outcome, error) {
	round := uint64(0)
	return func(ctx context.Context) (outcome, error) {
		round++
		l.round = round
		return lab.Within(ctx, sampleLimit, func(ctx context.Context) (outcome, error) { return take(ctx, l) })
	}
}

// verdict is an error that names what was missed or could not be measured.
func (r results) verdict() error {
	var bad []string
	for _, f := range r.figures {
		if !f.Met() {
			bad = append(bad, fmt.Sprintf("missed: %s is %.3g, must be %s", f.Title(), f.Ratio(), f.Target))
		}
	}
	for _, err := range r.failed {
		bad = append(bad, "failed: "+err.Error())
	}
	if len(bad) == 0 {
		return nil
	}
	return errors.New("not every target was met\n" + strings.Join(bad, "\n"))
}
