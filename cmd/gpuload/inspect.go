package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

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
			defer source.close()
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

	headers, errs := src.HeadersThatAre(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found := newInspection(args)
	for i, file := range src.Files() {
		found.addFile(file, headers[i], errs[i])
	}
	for _, problem := range src.Problems(headers) {
		found.Problems = append(found.Problems, problem.Error())
	}
	return found, nil
}
