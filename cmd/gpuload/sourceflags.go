package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
	"weightfs/remote"
	"weightfs/remote/tier"
)

// sourceFlags say which files to read and how to reach a bucket; load, inspect
// and bench share them.
type sourceFlags struct {
	s3      cli.S3Flags
	log     cli.LogLevel
	rank    optionalRank
	pattern string
	// readTimeout bounds the silence of a bucket.
	readTimeout time.Duration
	tier        cli.TierFlags
	shared      *tier.Tier // before buckets, once config made it; nil for none
}

// close ends what config made.
func (f *sourceFlags) close() {
	if f.shared != nil {
		f.shared.Close()
	}
}

// stagger is where a load through a shared cache begins.
func (f *sourceFlags) stagger() uint64 {
	if f.shared == nil {
		return 0
	}
	return rand.Uint64()
}

func (f *sourceFlags) register(flags *pflag.FlagSet) {
	flags.Var(&f.rank, "rank", "take only the files of rank `R`, counted from 0, of a model that was saved by rank")
	flags.StringVar(&f.pattern, "pattern", safetensors.DefaultRankPattern, "how files of ranks are named, with {rank} and {part} for the numbers")
	f.s3.Register(flags)
	f.tier.Register(flags)
	flags.DurationVar(&f.readTimeout, "read-timeout", 5*time.Minute, "longest that a bucket may be silent, all retries of a request together")
	f.log.Register(flags)
}

// config checks the parsed flags; the caller calls close. With a pattern in the streamer's JSON, the
// flag's is used only if it stands on the command line.
func (f *sourceFlags) config(a *app, flags *pflag.FlagSet, fromJSON string) (gpuload.SourceConfig, error) {
	if f.readTimeout <= 0 {
		return gpuload.SourceConfig{}, cli.Usagef("--read-timeout %v: must be above 0", f.readTimeout)
	}
	logger := f.log.Logger(a.stderr)
	s3, err := f.s3.Config(flags, a.env, logger)
	if err != nil {
		return gpuload.SourceConfig{}, err
	}
	retry := remote.RetryPolicy{ReadTimeout: f.readTimeout, Logger: logger}
	cfg := gpuload.SourceConfig{S3: s3, Retry: retry, Logger: logger}
	pattern := f.pattern
	if fromJSON != "" && !flags.Changed("pattern") {
		pattern = fromJSON
	}
	if _, err := safetensors.ParseRankPattern(pattern); err != nil {
		return gpuload.SourceConfig{}, cli.Usagef("pattern: %w", err)
	}
	if f.rank.set {
		cfg.Shard = &gpuload.Shard{Rank: f.rank.rank, Pattern: pattern}
	} else if pattern != safetensors.DefaultRankPattern {
		return gpuload.SourceConfig{}, cli.Usagef("pattern %q needs --rank", pattern)
	}
	if f.shared, err = f.tier.Open(s3, f.readTimeout, a.env, logger); err != nil {
		return gpuload.SourceConfig{}, err
	}
	if f.shared != nil {
		cfg.Through = f.shared.Wrap
	}
	return cfg, nil
}

// openSource is gpuload.OpenSource with errors that name what helps.
func openSource(ctx context.Context, cfg gpuload.SourceConfig, args ...string) (*gpuload.Source, error) {
	src, err := gpuload.OpenSource(ctx, cfg, args...)
	if errors.Is(err, safetensors.ErrRankNotChosen) {
		return nil, fmt.Errorf("%w: choose one with --rank", err)
	}
	if errors.Is(err, remote.ErrOutside) {
		return nil, fmt.Errorf("%w: copy the file into the folder, or name the files themselves, which may be links", err)
	}
	return src, err
}

// someSources is the argument check of the commands that read sources.
func someSources(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no SOURCE given: name a folder, a file or s3://BUCKET/PREFIX")
	}
	for _, arg := range args {
		if _, err := remote.ParseSource(arg); err != nil {
			return err
		}
	}
	return nil
}

// optionalRank is the value of --rank. It implements pflag.Value.
type optionalRank struct {
	rank int
	set  bool
}

// Set implements pflag.Value.
func (r *optionalRank) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a rank: write 0 or more", text)
	}
	r.rank, r.set = n, true
	return nil
}

// String implements pflag.Value.
func (r *optionalRank) String() string {
	if !r.set {
		return ""
	}
	return strconv.Itoa(r.rank)
}

// Type implements pflag.Value.
func (r *optionalRank) Type() string { return "int" }
