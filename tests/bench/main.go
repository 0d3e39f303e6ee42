// Command bench measures what readers get through a mount, each figure as a
// ratio with a baseline of the same run, and writes a Markdown table and plots.
//
// A row is a baseline and a load, taken by turns, so that what else the machine
// does falls on both; the table has the medians. Servers, mountd and readers
// are processes of their own; the proxy that makes the store look distant runs
// in this one, which does nothing else while a reader reads. See rows.go for
// all rows and their targets.
//
// It exits with 1 where a target was missed or a row could not be measured, and
// says which.
package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// options are the flags.
type options struct {
	lab.Settings
	mix time.Duration
	// far is the shape of the distant store.
	far proxy.Shape
}

func main() {
	workload.MainIfChild()
	lab.Main("bench", run)
}

const usage = `Usage: bench [flags]

Measures mounts against baselines of the same run. Needs root, to drop caches
and for memory cgroups.

%s`

// parse reads the flags; list asks for the names of the rows only.
func parse(args []string) (o options, list bool, err error) {
	o = options{Settings: lab.Settings{Runs: 5, Size: 1 << 30, Out: filepath.Join("bin", "bench")}, far: proxy.S3Like()}
	err = o.Parse("bench", usage, args, 64<<20, func(flags *pflag.FlagSet) {
		flags.DurationVar(&o.mix, "mix", 30*time.Second, "how long the readers of the memory rows read")
		flags.DurationVar(&o.far.FirstByte, "first-byte", o.far.FirstByte, "of the S3-like store: time to the first byte")
		flags.Int64Var(&o.far.PerConnection, "per-connection", o.far.PerConnection, "of the S3-like store: bytes per second of a connection")
		flags.Int64Var(&o.far.Total, "total", o.far.Total, "of the S3-like store: bytes per second in all")
		flags.BoolVar(&list, "list", false, "print the rows")
	})
	return o, list, err
}

func run(ctx context.Context, args []string) error {
	o, list, err := parse(args)
	if err != nil {
		return err
	}
	var chosen []row
	for _, r := range rows(o.far) {
		if o.Rows.MatchString(r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return errors.New("no row of that name; --list prints them")
	}
	if list {
		for _, r := range chosen {
			fmt.Println(r.name)
		}
		return nil
	}
	if err := lab.NeedRoot("dropping caches and using memory cgroups"); err != nil {
		return err
	}
	return measure(ctx, o, chosen)
}

// measure runs the rows and writes what came of them, also where the run ended
// early.
func measure(ctx context.Context, o options, chosen []row) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	results := b.runAll(ctx, chosen)
	if err := results.write(o); err != nil {
		return err
	}
	if results.ended != nil {
		return results.ended
	}
	return results.verdict()
}
