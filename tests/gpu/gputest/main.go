// Command gputest checks and measures the loader on a machine with a GPU. It
// needs no Go there and no network: make gpu-bundle packs it with the programs
// it runs, and run.sh beside it unpacks and starts them.
//
// It takes steps, each with its time, eight minutes in all: what the machine is, the
// device's own tests, figures, how fast a large checkpoint is loaded from each
// source, beside a bare loop that reads and copies the same files in the same run,
// and beside other loaders; then small checkpoints with every dtype and every odd
// layout, loaded from a folder, from mounts and from a bucket under several memory
// limits, each tensor read back from the GPU and compared with what Python reads
// from the files; and what must fail. Each result is printed as it comes, Markdown,
// and written into a folder, $OUT where that is set. What cannot be done, without
// FUSE, torch or an S3 server, is a line that says why.
//
// It exits with 1 if a check failed or a promise was missed, and, without
// --allow-unjudged, if one could not be judged.
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
)

func main() { lab.Main("gputest", run) }

// settings are the command's flags.
type settings struct {
	bin, work, out, device, python string
	size                           int64
	runs                           int
	time                           time.Duration
	figures, anyRate, unjudged     bool
}

func parse(args []string) (settings, error) {
	var s settings
	size := cli.Size(8 << 30)
	flags := pflag.NewFlagSet("gputest", pflag.ExitOnError)
	flags.StringVar(&s.bin, "bin", ".", "folder of the programs")
	flags.StringVar(&s.work, "work", os.TempDir(), "folder for checkpoints, three times --size; with extended attributes, for the S3 server")
	flags.StringVar(&s.out, "out", os.Getenv("OUT"), "folder for the report; none if that is empty")
	flags.StringVar(&s.device, "device", "cuda:0", "where to load to")
	flags.StringVar(&s.python, "python", "python3", "interpreter; better one with torch and safetensors")
	flags.Var(&size, "size", "bytes of the checkpoint that is measured")
	flags.IntVar(&s.runs, "runs", 3, "runs of each measurement, of which the median counts")
	flags.DurationVar(&s.time, "time", 8*time.Minute, "for all steps together")
	flags.BoolVar(&s.unjudged, "allow-unjudged", false, "exit with 0 although a promise could not be judged, as without torch")
	flags.BoolVar(&s.figures, "figures", true, "measure, not only check")
	flags.BoolVar(&s.anyRate, "any-rate", false, "do not judge rates, on a machine without a GPU")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.size = int64(size)
	if flags.NArg() > 0 || s.runs < 1 {
		return s, errors.New("no arguments, and at least one run, please: see --help")
	}
	var err error
	s.bin, err = filepath.Abs(s.bin)
	return s, err
}

func run(ctx context.Context, args []string) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	rep, err := newReport(s.out)
	if err != nil {
		return err
	}
	rep.anyRate = s.anyRate
	defer func() { err = errors.Join(err, rep.close()) }()
	r, err := newSuite(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := runSteps(ctx, r, rep, steps(r), s.time); err != nil {
		return err
	}
	rep.say("\n%d passed, %d failed, %d not judged\n", rep.passed, rep.failed, rep.unjudged)
	return rep.verdict(s.unjudged)
}
