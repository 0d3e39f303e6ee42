package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// copyBytes is what is copied to measure a device by itself: a tenth of a second
// to a GPU.
const copyBytes = 4 << 30

// benchFlags are the flags of gpuload bench.
type benchFlags struct {
	source sourceFlags
	tuning tuningFlags
	device string
	sweep  []int
	store  string
	plot   string
	json   bool
}

func newBenchCommand(a *app) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench [flags] SOURCE...",
		Short: "Measure how fast this node loads a model, and what keeps it from being faster",
		Long: `Bench loads the model once for each concurrency, from a cold start where that
can be had, measures the store, the mount, the copy into staging and the bus
each by itself, and names the one that sets the pace.`,
		Example: `  gpuload bench /mnt/models/Llama-3.2-3B-Instruct --plot bench.svg
  gpuload bench s3://core-llm/Llama-3-8b --sweep 8,16,32,64 --device cpu`,
		Args: someSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := f.plan(a, cmd.Flags(), args)
			if err != nil {
				return err
			}
			return plan.run(cmd.Context())
		},
	}
	f.register(cmd.Flags())
	explain(cmd, flagGroup{"What to measure", []string{"sweep", "store"}}, tuningGroup(), filesGroup(),
		flagGroup{"What to show", []string{"json", "plot", "log-level"}}, s3Group())
	return cmd
}

func (f *benchFlags) register(flags *pflag.FlagSet) {
	registerDevice(flags, &f.device)
	flags.IntSliceVar(&f.sweep, "sweep", []int{1, 4, 8, 16, 32}, "`concurrencies` to try; --concurrency tries one alone")
	flags.StringVar(&f.store, "store", "", "measure this `SOURCE` by itself too: the bucket behind a mount, say")
	flags.StringVar(&f.plot, "plot", "", "draw seconds against concurrency into `FILE`, as SVG")
	flags.BoolVar(&f.json, "json", false, "print one JSON object in place of the table")
	f.tuning.register(flags)
	f.source.register(flags)
	cli.Unbind(flags, "sweep", "store", "plot", "json")
}

// benchPlan is a measurement whose every setting has been checked.
type benchPlan struct {
	app     *app
	sources []string
	source  gpuload.SourceConfig
	tuning  tuning
	device  choice
	sweep   []int
	flags   *benchFlags
}

// plan checks all settings before anything happens.
func (f *benchFlags) plan(a *app, flags *pflag.FlagSet, sources []string) (*benchPlan, error) {
	p := &benchPlan{app: a, sources: sources, flags: f, sweep: f.sweep}
	var err error
	if p.tuning, err = f.tuning.resolve(a, flags); err != nil {
		return nil, err
	}
	if flags.Changed("concurrency") {
		p.sweep = []int{p.tuning.options.Concurrency}
	}
	if len(p.sweep) == 0 {
		return nil, cli.Usagef("sweep is empty")
	}
	for _, n := range p.sweep {
		if n < 1 || n > maxConcurrency {
			return nil, cli.Usagef("sweep: concurrency %d is not from 1 to %d", n, maxConcurrency)
		}
	}
	if p.source, err = f.source.config(a, flags, p.tuning.pattern); err != nil {
		return nil, err
	}
	if p.device, err = choose(f.device, thisHost()); err != nil {
		return nil, err
	}
	return p, placesForFiles(f.plot)
}

// run measures, prints and draws.
func (p *benchPlan) run(ctx context.Context) (err error) {
	if err := p.device.replace(); err != nil {
		return err
	}
	for _, notice := range p.tuning.notices {
		p.source.Logger.Warn(notice)
	}
	dev, err := p.device.open(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	if !p.flags.json {
		what := "measuring " + strings.Join(p.sources, " ")
		announce(p.app.stderr, what, dev, p.device, fmt.Sprintf("concurrency %v, %s", p.sweep, limitsText(p.tuning.options)))
	}
	result, err := p.measure(ctx, dev)
	if err != nil {
		return err
	}
	if p.flags.plot != "" {
		if err := os.WriteFile(p.flags.plot, result.plot(), 0o644); err != nil {
			return fmt.Errorf("write the plot: %w", err)
		}
	}
	if p.flags.json {
		return result.writeJSON(p.app.stdout)
	}
	return result.writeTable(p.app.stdout)
}

// measure sweeps the concurrencies, then measures each stage by itself, at the
// concurrency that was the best.
func (p *benchPlan) measure(ctx context.Context, dev gpuload.Device) (*benchResult, error) {
	r := &benchResult{Source: p.sources, Device: dev.Name()}
	for _, concurrency := range p.sweep {
		run, err := p.load(ctx, dev, concurrency, p.sources...)
		if err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, run)
	}
	best := r.best()
	drop, err := newDiscardDevice()
	if err != nil {
		return nil, err
	}
	defer drop.Close()
	alone, err := p.load(ctx, drop, best.Concurrency, p.sources...)
	if err != nil {
		return nil, fmt.Errorf("measure the source by itself: %w", err)
	}
	r.addStage("source", alone.BytesPerSecond)
	if p.flags.store != "" {
		if alone, err = p.load(ctx, drop, best.Concurrency, p.flags.store); err != nil {
			return nil, fmt.Errorf("measure the store by itself: %w", err)
		}
		r.addStage("store", alone.BytesPerSecond)
	}
	if best.Bytes == 0 {
		return nil, fmt.Errorf("measure %v: it has no bytes to load", p.sources)
	}
	rate, err := copyRate(ctx, dev, min(best.Bytes, copyBytes), best.chunk, best.Concurrency)
	if err != nil {
		return nil, fmt.Errorf("measure the device by itself: %w", err)
	}
	r.addStage("device", rate)
	return r, nil
}

// load loads once, from as cold a start as can be had.
func (p *benchPlan) load(ctx context.Context, dev gpuload.Device, concurrency int, sources ...string) (_ benchRun, err error) {
	src, err := openSource(ctx, p.source, sources...)
	if err != nil {
		return benchRun{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	left, err := src.Evict()
	if err != nil {
		return benchRun{}, err
	}
	options := p.tuning.options
	options.Concurrency = concurrency
	m, err := gpuload.Load(ctx, dev, src, options)
	if err != nil {
		return benchRun{}, err
	}
	s := m.Stats()
	return benchRun{
		Concurrency: concurrency, Bytes: s.Bytes, Seconds: s.Elapsed.Seconds(), BytesPerSecond: s.BytesPerSecond(),
		StagingPeakBytes: s.StagingPeakBytes, Bound: s.Bound(), Start: startName(left), chunk: s.ChunkBytes,
	}, m.Close()
}

// startName says how cold a start was.
func startName(left gpuload.Warmth) string {
	switch left {
	case gpuload.Cold:
		return "cold"
	case gpuload.WarmMount:
		return "mount's cache"
	}
	return "page cache"
}

// copyRate is how many bytes a second go from staging to fresh device memory,
// so many in all, in chunks on so many streams, when nothing is read.
func copyRate(ctx context.Context, dev gpuload.Device, bytes, chunk int64, streams int) (_ float64, err error) {
	chunk = min(chunk, bytes)
	staging, err := dev.NewStaging(int(chunk))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, staging.Free()) }()
	memory, err := dev.Alloc(bytes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, memory.Free()) }()
	queues := make([]gpuload.Stream, streams)
	for i := range queues {
		if queues[i], err = dev.NewStream(); err != nil {
			return 0, err
		}
		defer queues[i].Close()
	}
	start := time.Now()
	for at := int64(0); at < bytes; at += chunk {
		n := min(chunk, bytes-at)
		queue := queues[int(at/chunk)%streams]
		if err := errors.Join(ctx.Err(), queue.Copy(memory, at, staging.Bytes()[:n])); err != nil {
			return 0, err
		}
	}
	if err := syncAll(queues); err != nil {
		return 0, err
	}
	return float64(bytes) / time.Since(start).Seconds(), nil
}

func syncAll(streams []gpuload.Stream) error {
	for _, s := range streams {
		if err := s.Sync(); err != nil {
			return err
		}
	}
	return nil
}
