// Command gputest checks and measures the loader on a machine with a GPU. It
// needs no Go there and no network: make gpu-bundle packs it with the programs
// it runs, and run.sh beside it unpacks and starts them.
//
// First the device's own tests, then correctness: small checkpoints with every
// dtype and every odd layout, loaded from a folder, from mounts and from a
// bucket under several memory limits, each tensor read back from the GPU and
// compared with what Python reads from the files. Then figures: how fast a
// large checkpoint is loaded from each source, beside a bare loop that reads
// and copies the same files in the same run. The tables are Markdown.
//
// It exits with 1 if a check failed or a promise was missed, and, without
// --allow-unjudged, if one could not be judged.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
)

func main() { lab.Main("gputest", run) }

// settings are the command's flags.
type settings struct {
	bin, work, device, python string
	size                      int64
	runs                      int
	figures, unjudged         bool
}

func parse(args []string) (settings, error) {
	var s settings
	size := cli.Size(8 << 30)
	flags := pflag.NewFlagSet("gputest", pflag.ExitOnError)
	flags.StringVar(&s.bin, "bin", ".", "folder of the programs")
	flags.StringVar(&s.work, "work", os.TempDir(), "folder for checkpoints, three times --size; with extended attributes, for the S3 server")
	flags.StringVar(&s.device, "device", "cuda:0", "where to load to")
	flags.StringVar(&s.python, "python", "python3", "interpreter; better one with torch and safetensors")
	flags.Var(&size, "size", "bytes of the checkpoint that is measured")
	flags.IntVar(&s.runs, "runs", 5, "runs of each measurement, of which the median counts")
	flags.BoolVar(&s.unjudged, "allow-unjudged", false, "exit with 0 although a promise could not be judged, as without torch")
	flags.BoolVar(&s.figures, "figures", true, "measure, not only check")
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
	r, err := newSuite(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	score, err := checkAll(ctx, r)
	if err != nil {
		return err
	}
	if s.figures {
		if err := measureAll(ctx, r, score); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d passed, %d failed, %d not judged\n", score.passed, score.failed, score.unjudged)
	return score.verdict(s.unjudged)
}

// score counts checks and prints each.
type score struct{ passed, failed, unjudged int }

// verdict is an error if a check failed, or, unless it may, was not judged.
func (s *score) verdict(unjudged bool) error {
	switch {
	case s.failed > 0:
		return errors.New("not everything is as it should be")
	case s.unjudged > 0 && !unjudged:
		return errors.New("not everything was judged, see --allow-unjudged")
	}
	return nil
}

// skip notes a check that had nothing to be held against.
func (s *score) skip(what, why string) {
	s.unjudged++
	fmt.Printf("--   %s: not judged: %s\n", what, why)
}

// judge holds a figure to its target.
func (s *score) judge(f lab.Figure) {
	var err error
	if !f.Met() {
		err = fmt.Errorf("%.3g: %s, of %s", f.Ratio(), f.Unit.Format(f.Load()), f.Unit.Format(f.Base()))
	}
	s.add(fmt.Sprintf("%s, %s of %s", f.Title(), f.Target, f.Baseline), err)
}

func (s *score) add(what string, err error) {
	if err != nil {
		s.failed++
		fmt.Printf("FAIL %s: %v\n", what, err)
		return
	}
	s.passed++
	fmt.Printf("ok   %s\n", what)
}
