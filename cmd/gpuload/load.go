package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
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
	numa     string
	hash     string
	manifest string
	expect   string
	progress string
	verify   bool
	json     bool
}

func newLoadCommand(a *app) *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "load [flags] SOURCE...",
		Short: "Load the tensors of a model onto a device, and say how fast that was",
		Long: `Load reads the safetensors files of each SOURCE and copies their tensors to a
device. A SOURCE is a mounted or local folder or file, s3://BUCKET/PREFIX, or
s3://BUCKET/KEY.safetensors. Of a folder with a *.safetensors.index.json it
takes the files that the index names, of any other all *.safetensors.

A setting is taken from its flag, else from --model-loader-extra-config, else
from its variable, else from the Run:ai streamer's: RUNAI_STREAMER_CONCURRENCY,
RUNAI_STREAMER_MEMORY_LIMIT and RUNAI_STREAMER_CHUNK_BYTESIZE (bytes of a part).
RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0 and RUNAI_STREAMER_S3_UNSIGNED=1 hold
too, and so do the AWS variables and files. All are checked before anything
happens.`,
		Example: `  gpuload load /mnt/models/Llama-3.2-3B-Instruct
  gpuload load s3://core-llm/Llama-3-8b --concurrency 32 --memory-limit 5Gi
  gpuload load /path/to/sharded/model --rank 0 --device cuda:0
  gpuload load model.safetensors --device cpu --verify --manifest model.manifest`,
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
	explain(cmd, tuningGroup(), filesGroup(),
		flagGroup{"What to make sure of", []string{"verify", "manifest", "expect", "hash"}},
		flagGroup{"What to show", []string{"json", "progress", "log-level"}},
		s3Group())
	return cmd
}

func (f *loadFlags) register(flags *pflag.FlagSet) {
	registerDevice(flags, &f.device)
	registerNUMA(flags, &f.numa)
	f.tuning.register(flags)
	f.source.register(flags)
	flags.StringVar(&f.manifest, "manifest", "", "write a line of JSON for each tensor, with the digest of its bytes on the device, to `FILE`, "+
		"which appears once all of it is there")
	flags.StringVar(&f.expect, "expect", "", "fail if a tensor on the device differs in anything from the manifest in `FILE`")
	flags.BoolVar(&f.verify, "verify", false, "read every tensor back from the device, and fail if its digest is not that of the source")
	flags.StringVar(&f.hash, "hash", manifest.SHA256.String(), "`hash` of digests: sha256 or xxh3, which is faster")
	flags.StringVar(&f.progress, "progress", "auto", "`kind` of progress: auto (a bar on a terminal, else lines), plain (lines) or none")
	flags.BoolVar(&f.json, "json", false, "print one JSON object in place of the summary, and nothing else unless something is wrong")
	cli.Unbind(flags, "manifest", "expect", "verify", "json")
}

// loadPlan is a load whose every setting has been checked.
type loadPlan struct {
	app      *app
	sources  []string
	source   gpuload.SourceConfig
	tuning   tuning
	device   choice
	near     bool
	hash     manifest.Hash
	expected []manifest.Entry // nil for none
	progress progressMode
	flags    *loadFlags
}

// plan checks all settings before anything happens.
func (f *loadFlags) plan(ctx context.Context, a *app, flags *pflag.FlagSet, sources []string) (*loadPlan, error) {
	p := &loadPlan{app: a, sources: sources, flags: f}
	var err error
	if p.tuning, err = f.tuning.resolve(a, flags); err != nil {
		return nil, err
	}
	if p.source, err = f.source.config(a, flags, p.tuning.pattern); err != nil {
		return nil, err
	}
	p.tuning.options.Stagger = f.source.stagger()
	if p.hash, err = manifest.ParseHash(f.hash); err != nil {
		return nil, cli.Usagef("%w", err)
	}
	if p.progress, err = parseProgress(f.progress, f.json, a.stderr); err != nil {
		return nil, err
	}
	if p.near, err = parseNUMA(f.numa); err != nil {
		return nil, err
	}
	if p.device, err = choose(f.device, thisHost(ctx)); err != nil {
		return nil, err
	}
	p.source.Register = p.device.gpu
	if err := placeForManifest(f.manifest); err != nil {
		return nil, err
	}
	return p, p.expect(flags.Changed("hash"))
}

// expect reads the manifest to compare with. Its hash is the load's, which must
// not have been asked to be another.
func (p *loadPlan) expect(hashGiven bool) (err error) {
	f := p.flags
	if f.expect == "" {
		return nil
	}
	if p.expected, err = manifest.ReadFile(f.expect); err != nil {
		return err
	}
	expectedBy, err := manifest.HashOf(p.expected)
	if err != nil {
		return fmt.Errorf("%s: %w", f.expect, err)
	}
	if hashGiven && p.hash != expectedBy {
		return cli.Usagef("hash %s: the digests in %s are by %s", p.hash, f.expect, expectedBy)
	}
	p.hash = expectedBy
	return nil
}

// run loads, checks and reports.
func (p *loadPlan) run(ctx context.Context) (err error) {
	if err := p.device.replace(); err != nil {
		return err
	}
	for _, notice := range p.tuning.notices {
		p.source.Logger.Warn(notice)
	}
	p.tuning.fit(os.DirFS("/"))
	opened, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	options := p.tuning.options
	if p.flags.json {
		p.device.warn(p.source.Logger)
	} else {
		what := fmt.Sprintf("loading %s, %s,", opened.source, humanize.Bytes(uint64(opened.source.Bytes())))
		announce(p.app.stderr, what, opened.device, p.device, settingsText(options.For(opened.source)))
	}
	if p.near {
		runNear(os.DirFS("/"), opened.device, options.For(opened.source).Concurrency, p.source.Logger)
	}
	bar := p.progress.start(opened.source.Bytes(), p.app.stderr)
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
	return p.report(opened, model.Stats())
}

// inputs are what a load takes.
type inputs struct {
	source  *gpuload.Source
	device  gpuload.Device
	began   time.Time     // the process
	start   time.Duration // since then, as all below, until opening began
	listing time.Duration // until the source was open
	driver  time.Duration // until the device was found
	opening time.Duration // until both were
	headers sync.WaitGroup
	stop    context.CancelFunc // of the headers
}

// open opens the device while the source is listed and its headers begin to be
// read. A GPU goes on being opened behind the load.
func (p *loadPlan) open(ctx context.Context) (*inputs, error) {
	ahead, stop := context.WithCancel(ctx)
	in := &inputs{stop: stop, began: p.app.began, start: time.Since(p.app.began)}
	g, opening := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if in.source, err = openSource(opening, p.source, p.sources...); err != nil {
			return err
		}
		in.listing = time.Since(in.began)
		// The load waits for the headers, and meets their errors itself.
		in.headers.Go(func() { _, _ = in.source.Headers(ahead) })
		return nil
	})
	g.Go(func() (err error) {
		in.device, p.device, err = p.device.open(opening, deviceConfig{near: p.near, logger: p.source.Logger})
		in.driver = time.Since(in.began)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.opening = time.Since(in.began)
	return in, nil
}

func (in *inputs) close() error {
	in.stop() // a load that failed needs no more headers
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

// check takes digests of what lies on the device, as far as the flags ask for
// them.
func (p *loadPlan) check(ctx context.Context, src *gpuload.Source, model *gpuload.Model) error {
	if p.flags.manifest == "" && !p.flags.verify && p.flags.expect == "" {
		return nil
	}
	cfg := manifest.Config{Hash: p.hash, MemoryLimit: p.tuning.options.MemoryLimit}
	onDevice, err := manifest.FromModel(ctx, model, cfg)
	if err != nil {
		return err
	}
	if p.flags.verify {
		inSource, err := manifest.FromSource(ctx, src, cfg)
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
