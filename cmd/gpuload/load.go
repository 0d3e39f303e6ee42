package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
	"weightfs/gpuload/manifest"
)

// loadFlags are the flags of gpuload load.
type loadFlags struct {
	source   sourceFlags
	tuning   tuningFlags
	device   string
	hash     string
	manifest string
	expect   string
	progress string
	verify   bool
	json     bool
	hold     string
}

func newLoadCommand(a *app) *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "load [flags] SOURCE...",
		Short: "Load the tensors of a model onto a device, and say how fast that was",
		Long: "Load reads the safetensors files of each SOURCE, a mounted or local folder or file,\n" +
			"s3://BUCKET/PREFIX or s3://BUCKET/KEY.safetensors, and copies their tensors to a device.",
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
	return cmd
}

func (f *loadFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.device, "device", "auto", "auto, cpu or cuda:`N`; auto is the first GPU, or the CPU where there is none")
	f.tuning.register(flags)
	f.source.register(flags)
	flags.StringVar(&f.manifest, "manifest", "", "write a line of JSON for each tensor, as it is on the device, to `FILE`")
	flags.StringVar(&f.expect, "expect", "", "compare the tensors on the device with the manifest in `FILE`")
	flags.BoolVar(&f.verify, "verify", false, "compare the tensors on the device with the source, read again")
	flags.StringVar(&f.hash, "hash", manifest.SHA256.String(), "digests by sha256 or xxh3")
	flags.StringVar(&f.progress, "progress", "auto", "auto (a bar on a terminal), plain or none")
	flags.BoolVar(&f.json, "json", false, "print one JSON object in place of the summary")
	flags.StringVar(&f.hold, "hold", "", "then keep the model loaded, and serve handles of its memory on the Unix `SOCKET`, until signalled")
	cli.Unbind(flags, "manifest", "expect", "verify", "json", "hold")
}

// loadPlan is a load whose every setting has been checked.
type loadPlan struct {
	app      *app
	sources  []string
	source   gpuload.SourceConfig
	tuning   tuning
	device   choice
	hash     manifest.Hash
	expected []manifest.Entry // nil for none
	progress progressMode
	flags    *loadFlags
}

// plan checks all settings before anything happens.
func (f *loadFlags) plan(a *app, flags *pflag.FlagSet, sources []string) (*loadPlan, error) {
	p := &loadPlan{app: a, sources: sources, flags: f}
	var err error
	if p.tuning, err = f.tuning.resolve(a, flags); err != nil {
		return nil, err
	}
	if p.source, err = f.source.config(a, flags, p.tuning.pattern); err != nil {
		return nil, err
	}
	if p.hash, err = manifest.ParseHash(f.hash); err != nil {
		return nil, cli.Usagef("%w", err)
	}
	if p.progress, err = parseProgress(f.progress, f.json, a.stderr); err != nil {
		return nil, err
	}
	if p.device, err = choose(f.device, thisHost()); err != nil {
		return nil, err
	}
	if f.expect == "" {
		return p, nil
	}
	if p.expected, err = manifest.ReadFile(f.expect); err != nil {
		return nil, err
	}
	expectedBy, err := manifest.HashOf(p.expected)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.expect, err)
	}
	if flags.Changed("hash") && p.hash != expectedBy {
		return nil, cli.Usagef("hash %s: the digests in %s are by %s", p.hash, f.expect, expectedBy)
	}
	p.hash = expectedBy
	return p, nil
}

// run loads, checks and reports.
func (p *loadPlan) run(ctx context.Context) (err error) {
	if err := p.device.replace(); err != nil {
		return err
	}
	for _, notice := range p.tuning.notices {
		p.source.Logger.Warn(notice)
	}
	opened, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	announce(p.app.stderr, "loading", p.sources, opened.device, p.device)

	bar := p.progress.start(opened.source.Bytes(), p.app.stderr)
	options := p.tuning.options
	options.Progress = bar.add
	model, err := gpuload.Load(ctx, opened.device, opened.source, options)
	bar.finish()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	if err := p.check(ctx, opened.source, model); err != nil {
		return err
	}
	if p.flags.hold == "" {
		return p.report(opened, model.Stats())
	}
	held, err := describe(opened.device, model)
	if err != nil {
		return err
	}
	if err := p.report(opened, model.Stats()); err != nil {
		return err
	}
	return hold(ctx, p.flags.hold, held, p.app.stderr)
}

// inputs are what a load takes.
type inputs struct {
	source  *gpuload.Source
	device  gpuload.Device
	opening time.Duration // how long it took to open the two
	headers sync.WaitGroup
}

// open opens the device while the source is listed and its headers begin to be
// read: a GPU's context takes as long.
func (p *loadPlan) open(ctx context.Context) (*inputs, error) {
	in := &inputs{}
	start := time.Now()
	g, opening := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if in.source, err = gpuload.OpenSource(opening, p.source, p.sources...); err != nil {
			return err
		}
		// The load waits for the headers, and meets their errors itself.
		in.headers.Go(func() { _, _ = in.source.Headers(ctx) })
		return nil
	})
	g.Go(func() (err error) {
		in.device, err = p.device.open(p.flags.hold != "")
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.opening = time.Since(start)
	return in, nil
}

func (in *inputs) close() error {
	in.headers.Wait()
	var errs []error
	if in.source != nil {
		errs = append(errs, in.source.Close())
	}
	if in.device != nil {
		errs = append(errs, in.device.Close())
	}
	return errors.Join(errs...)
}

// announce says which device was taken and why.
func announce(w io.Writer, doing string, sources []string, dev gpuload.Device, c choice) {
	fmt.Fprintf(w, "gpuload: %s %s onto %s (%s; %s)\n", doing, strings.Join(sources, " "), dev.Name(), dev.Describe(), c.reason)
}

// check takes digests of what lies on the device, as far as the flags ask for
// them.
func (p *loadPlan) check(ctx context.Context, src *gpuload.Source, model *gpuload.Model) error {
	if p.flags.manifest == "" && !p.flags.verify && p.flags.expect == "" {
		return nil
	}
	onDevice, err := manifest.FromModel(ctx, model, p.hash)
	if err != nil {
		return err
	}
	if p.flags.verify {
		inSource, err := manifest.FromSource(ctx, src, p.hash)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := manifest.Compare(onDevice, inSource); err != nil {
			return fmt.Errorf("verify against %s: %w", src, err)
		}
	}
	if p.flags.expect != "" {
		if err := manifest.Compare(onDevice, p.expected); err != nil {
			return fmt.Errorf("compare with %s: %w", p.flags.expect, err)
		}
	}
	if p.flags.manifest == "" {
		return nil
	}
	return manifest.Write(p.flags.manifest, onDevice)
}
