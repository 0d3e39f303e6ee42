package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// benchPlot is where the plot goes, unless told otherwise.
const benchPlot = "gpuload-bench.svg"

// benchFlags are the flags of gpuload bench.
type benchFlags struct {
	source sourceFlags
	tuning tuningFlags
	device string
	numa   string
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
each by itself, and names the one that sets the pace. It prints a table, and
draws seconds against concurrency into ` + benchPlot + ` of the working folder.`,
		Example: `  gpuload bench /mnt/models/Llama-3.2-3B-Instruct --plot bench.svg
  gpuload bench s3://core-llm/Llama-3-8b --sweep 8,16,32,64 --device cpu`,
		Args: someSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer f.source.close()
			plan, err := f.plan(cmd.Context(), a, cmd.Flags(), args)
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
	registerNUMA(flags, &f.numa)
	flags.IntSliceVar(&f.sweep, "sweep", []int{1, 4, 8, 16, 32}, "`concurrencies` to try; --concurrency tries one alone")
	flags.StringVar(&f.store, "store", "", "measure this `SOURCE` by itself too; the default is what a mount of weightfs shows")
	flags.StringVar(&f.plot, "plot", benchPlot, "draw seconds against concurrency into `FILE`, as SVG; an empty name draws nothing")
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
	near    bool
	sweep   []int
	flags   *benchFlags
}

// plan checks all settings before anything happens.
func (f *benchFlags) plan(ctx context.Context, a *app, flags *pflag.FlagSet, sources []string) (*benchPlan, error) {
	p := &benchPlan{app: a, sources: sources, flags: f, sweep: f.sweep}
	var err error
	if p.tuning, err = f.tuning.resolve(a, flags); err != nil {
		return nil, err
	}
	if flags.Changed("concurrency") {
		p.sweep = []int{p.tuning.options.Concurrency}
	} else if n := p.tuning.options.Concurrency; n != 0 {
		p.tuning.notices = append(p.tuning.notices, fmt.Sprintf("concurrency %d has no effect on bench, which tries %v: --concurrency tries it alone", n, p.sweep))
	}
	if len(p.sweep) == 0 {
		return nil, cli.Usagef("sweep is empty")
	}
	for _, n := range p.sweep {
		if n < 1 || n > gpuload.MaxConcurrency {
			return nil, cli.Usagef("sweep: concurrency %d is not from 1 to %d", n, gpuload.MaxConcurrency)
		}
	}
	if p.source, err = f.source.config(a, flags, p.tuning.pattern); err != nil {
		return nil, err
	}
	p.tuning.options.Stagger = f.source.stagger()
	if p.near, err = parseNUMA(f.numa); err != nil {
		return nil, err
	}
	if p.device, err = choose(f.device, thisHost(ctx)); err != nil {
		return nil, err
	}
	p.source.Register = p.device.gpu
	return p, p.findPlaceForPlot(flags.Changed("plot"))
}

// findPlaceForPlot makes sure that the plot can be written. One that nobody asked
// for is no reason to measure nothing: a node's working folder may be read-only.
func (p *benchPlan) findPlaceForPlot(asked bool) error {
	err := placeForPlot(p.flags.plot)
	if err == nil || asked {
		return err
	}
	p.tuning.notices = append(p.tuning.notices, fmt.Sprintf("no plot: %v: --plot names another place", err))
	p.flags.plot = ""
	return nil
}

// run measures, prints and draws.
func (p *benchPlan) run(ctx context.Context) (err error) {
	if err := p.device.replace(); err != nil {
		return err
	}
	for _, notice := range p.tuning.notices {
		p.source.Logger.Warn(notice)
	}
	p.tuning.fit(os.DirFS("/"))
	var dev gpuload.Device
	if dev, p.device, err = p.device.open(ctx, deviceConfig{near: p.near, logger: p.source.Logger}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	if p.near {
		runNear(os.DirFS("/"), dev, slices.Max(p.sweep), p.source.Logger)
	}
	result, err := p.begin(ctx, dev)
	if err != nil {
		return err
	}
	if err := p.measure(ctx, dev, result); err != nil {
		return err
	}
	if shared := p.flags.source.shared; shared != nil {
		result.Tier = cli.NewTierReport(shared.Stats())
	}
	if p.flags.json {
		err = result.writeJSON(p.app.stdout)
	} else {
		err = result.writeTable(p.app.stdout)
	}
	return errors.Join(err, p.draw(result))
}

// draw writes the plot, and says where it is.
func (p *benchPlan) draw(result *benchResult) error {
	if p.flags.plot == "" {
		return nil
	}
	if err := os.WriteFile(p.flags.plot, result.plot(), 0o644); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	if p.flags.json {
		return nil
	}
	_, err := fmt.Fprintf(p.app.stdout, "Plot: %s\n", p.flags.plot)
	return err
}

// begin looks at the source, and at a store that was asked for, and says what
// will be measured.
func (p *benchPlan) begin(ctx context.Context, dev gpuload.Device) (*benchResult, error) {
	if p.flags.store != "" {
		store, err := openSource(ctx, p.source, p.flags.store)
		if err == nil {
			err = store.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", p.flags.store, err)
		}
	}
	src, err := openSource(ctx, p.source, p.sources...)
	if err != nil {
		return nil, err
	}
	if p.flags.json {
		p.device.warn(p.source.Logger)
	} else {
		what := fmt.Sprintf("measuring %s, %s,", src, humanize.Bytes(uint64(src.Bytes())))
		settings := fmt.Sprintf("concurrency %v, %s", p.sweep, limitsText(p.tuning.options.For(src)))
		announce(p.app.stderr, what, dev, p.device, settings)
	}
	r := &benchResult{Source: p.sources, Device: dev.Name(), Mounted: src.OnMount()}
	return r, errors.Join(warmUp(ctx, dev, min(src.Bytes(), warmBytes)), src.Close())
}

// warmUp touches memory of the device: where that is the host's, and the host a
// virtual machine, the first touch can take several times as long as all later
// ones, and would be taken for the first load's time.
func warmUp(ctx context.Context, dev gpuload.Device, bytes int64) error {
	const piece, streams = 8 << 20, 2
	if _, err := busRate(ctx, dev, bytes, piece, streams); err != nil {
		return fmt.Errorf("warm the device up: %w", err)
	}
	return nil
}

// measure sweeps the concurrencies, then measures each stage by itself, at the
// concurrency that was the best.
func (p *benchPlan) measure(ctx context.Context, dev gpuload.Device, r *benchResult) error {
	for _, concurrency := range p.sweep {
		run, err := p.load(ctx, dev, concurrency, p.sources...)
		if err != nil {
			return err
		}
		r.Runs = append(r.Runs, run)
	}
	best := r.best()
	if best.Bytes == 0 {
		return fmt.Errorf("measure %v: it has no bytes to load", p.sources)
	}
	if err := p.measureSources(ctx, r, best.Concurrency); err != nil {
		return err
	}
	bytes := min(best.Bytes, copyBytes)
	rate, err := stagingRate(ctx, dev, bytes, best.piece, best.Concurrency)
	if err != nil {
		return fmt.Errorf("measure the staging copy by itself: %w", err)
	}
	r.addStage(stageStaging, rate)
	if r.Bus, err = sweepBus(ctx, dev, min(bytes, warmBytes)); err != nil {
		return fmt.Errorf("measure the bus by itself: %w", err)
	}
	r.addStage(stageBus, r.bestBus().BytesPerSecond)
	return nil
}

// measureSources measures the mount and the store, without a device. A store
// behind a mount that was not asked for is measured if it can be reached.
func (p *benchPlan) measureSources(ctx context.Context, r *benchResult, concurrency int) (err error) {
	drop, err := newDiscardDevice()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop.Close()) }()
	own := stageStore
	switch {
	case r.Mounted:
		own = stageMount
	case p.flags.store != "":
		own = stageSource
	}
	alone, err := p.load(ctx, drop, concurrency, p.sources...)
	if err != nil {
		return fmt.Errorf("measure the %s by itself: %w", own, err)
	}
	r.addStage(own, alone.BytesPerSecond)
	if alone.LeasedBytes > 0 {
		through := *p
		through.source.ThroughFUSE = true
		if alone, err = through.load(ctx, drop, concurrency, p.sources...); err != nil {
			return fmt.Errorf("measure the %s by itself: %w", stageFUSE, err)
		}
		r.addAside(stageFUSE, alone.BytesPerSecond)
	}
	stores := []string{p.flags.store}
	if p.flags.store == "" {
		if !r.Mounted {
			return nil
		}
		if stores, err = storesBehind(p.sources); err != nil {
			r.note("the store behind the mount was not measured: " + err.Error())
			return nil
		}
	}
	alone, err = p.load(ctx, drop, concurrency, stores...)
	switch {
	case err == nil:
		r.addAside(stageStore, alone.BytesPerSecond)
		return nil
	case p.flags.store == "" && ctx.Err() == nil:
		r.note("the store behind the mount was not measured: " + err.Error())
		return nil
	}
	return fmt.Errorf("measure the store by itself: %w", err)
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
		StagingPeakBytes: s.StagingPeakBytes, LeasedBytes: s.LeasedBytes, Bound: s.Bound(), Start: startName(left), piece: s.PieceBytes,
	}, m.Close()
}

// What a start may find, in a person's words.
const (
	startCold  = "cold"
	startMount = "mount's cache"
	startPages = "page cache"
)

// startName says how cold a start was.
func startName(left gpuload.Warmth) string {
	switch left {
	case gpuload.Cold:
		return startCold
	case gpuload.WarmMount:
		return startMount
	}
	return startPages
}
