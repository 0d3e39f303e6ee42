package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
)

// headerReaders is how many headers inspect reads at a time: they wait for the
// store more than they transfer.
const headerReaders = 32

// newInspectCommand makes "gpuload inspect".
func newInspectCommand(a *app) *cobra.Command {
	var source sourceFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] SOURCE...",
		Short: "Show the tensors of a model, and what is wrong with its files",
		Long: `Inspect reads the headers of the safetensors files of each SOURCE, no tensor
data and no device, and lists tensors, files and totals. Problems, such as
missing shards, tensors in two files or damaged headers, are listed with what is
there, and make it fail.`,
		Example: `  gpuload inspect /mnt/models/Llama-3.2-3B-Instruct
  gpuload inspect s3://core-llm/Llama-3-8b --json`,
		Args: someSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := source.config(a, cmd.Flags(), "")
			if err != nil {
				return err
			}
			found, err := inspect(cmd.Context(), cfg, args)
			if err != nil {
				return err
			}
			write := found.writeTable
			if asJSON {
				write = found.writeJSON
			}
			if err := write(a.stdout); err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			return found.failure()
		},
	}
	source.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object in place of the tables")
	cli.Unbind(cmd.Flags(), "json")
	explain(cmd, filesGroup(), flagGroup{"What to show", []string{"json", "log-level"}}, s3Group())
	return cmd
}

// inspect reads the headers of all files that are there. What is wrong with the
// files is in the inspection; the error is for what kept it from looking at
// them.
func inspect(ctx context.Context, cfg gpuload.SourceConfig, args []string) (_ *inspection, err error) {
	cfg.Partial = true
	src, err := gpuload.OpenSource(ctx, cfg, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()

	results := readHeaders(ctx, src.Files())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found := newInspection(args)
	headers := make([]*safetensors.Header, len(results))
	for i, file := range src.Files() {
		found.addFile(file, results[i])
		headers[i] = results[i].header
	}
	for _, problem := range src.Problems(headers) {
		found.Problems = append(found.Problems, problem.Error())
	}
	return found, nil
}

// headerResult is one file's header, or why there is none.
type headerResult struct {
	header *safetensors.Header
	err    error
}

// readHeaders returns the headers in the order of the files.
func readHeaders(ctx context.Context, files []*gpuload.File) []headerResult {
	results := make([]headerResult, len(files))
	var g errgroup.Group
	g.SetLimit(headerReaders)
	for i, file := range files {
		g.Go(func() error {
			results[i].header, results[i].err = file.Header(ctx)
			return nil
		})
	}
	_ = g.Wait() // the errors are in the results
	return results
}
