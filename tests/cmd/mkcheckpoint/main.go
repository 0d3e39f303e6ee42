// Command mkcheckpoint writes a safetensors checkpoint of any size: see package
// weightfs/tests/checkpoint.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/tests/rig"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkcheckpoint:", err)
		os.Exit(1)
	}
}

func run() error {
	var spec rig.Checkpoint
	size, tensor := cli.Size(64<<20), cli.Size(32<<20)
	flags := pflag.NewFlagSet("mkcheckpoint", pflag.ExitOnError)
	flags.IntVar(&spec.Shards, "shards", 1, "number of files; more than one get an index")
	flags.Var(&size, "size", "bytes of all tensors together")
	flags.Var(&tensor, "tensor-size", "about the bytes of one matrix")
	flags.StringSliceVar(&spec.Dtypes, "dtypes", []string{"BF16"}, "dtypes, taken in turn")
	flags.BoolVar(&spec.Odd, "odd", false, "begin each file with a tensor of 3 bytes, so that nothing is aligned")
	flags.Uint64Var(&spec.Seed, "seed", 0, "other content")
	flags.Usage = func() {
		fmt.Printf("Usage: mkcheckpoint [flags] FOLDER\n\nWrites a checkpoint into FOLDER, the same bytes for the same flags.\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("one FOLDER is needed, see --help")
	}
	dir := flags.Arg(0)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	spec.Size, spec.TensorSize = int64(size), int64(tensor)
	_, err := rig.WriteCheckpoint(dir, spec)
	return err
}
