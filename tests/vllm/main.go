// Command vllm has real vLLM, on the CPU, load a random Llama from a mount of a real S3
// server by each of its load formats and by ours. It fails where tokens, their
// probabilities or the loaded weights differ by one bit from what vLLM makes of the
// local files, with one rank and with two, or where vllm serve does not answer.
//
// With --measure it takes the time and the CPU time of each instead, and writes a
// table.
package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

const usage = `Usage: vllm [flags]

Compares what vLLM loads by each of its load formats from a mount. With --measure, how
long that takes. Needs root, to mount and to drop caches.

%s`

type settings struct {
	lab.Settings
	measure bool
	vllm    string // virtual environment that has it
}

func main() {
	workload.MainIfChild()
	lab.Main("vllm", run)
}

func parse(args []string) (settings, error) {
	o := settings{Settings: lab.Settings{Runs: 5, Size: 1e9, Out: filepath.Join("bin", "vllm")}}
	return o, o.Parse("vllm", usage, args, 1e6, func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.measure, "measure", false, "measure, and write a table")
		flags.StringVar(&o.vllm, "vllm", ".vllm", "virtual environment with vLLM")
	})
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := lab.NeedRoot("mounting and dropping caches"); err != nil {
		return err
	}
	s, err := newStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.measure {
		return s.measure(ctx)
	}
	return s.check(ctx)
}
