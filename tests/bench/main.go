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
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/tests/bench/workload"
	"weightfs/tests/proxy"
)

// options are the flags.
type options struct {
	runs    int
	size    cli.Size
	touch   cli.Size
	mix     time.Duration
	limit   time.Duration
	pattern *regexp.Regexp
	out     string
	docs    string
	scratch string
	local   string
	mountd  []string
	// far is the shape of the distant store.
	far proxy.Shape
}

func main() {
	if workload.IsChild(os.Args) {
		if err := workload.Main(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const usage = `Usage: bench [flags]

Measures mounts against baselines of the same run. Needs root, to drop caches
and for memory cgroups.

%s`

// parse reads the flags; list asks for the names of the rows only.
func parse(args []string) (o options, list bool, err error) {
	o = options{size: 1 << 30, far: proxy.S3Like()}
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	rows := flags.String("rows", "", "regular expression: the rows to measure (all)")
	flags.IntVar(&o.runs, "runs", 5, "samples of each side of a row")
	flags.Var(&o.size, "size", "bytes of the object; the other checkpoints are in proportion")
	flags.Var(&o.touch, "touch", "memory to touch before each sample, 0 for twice the object's size")
	flags.DurationVar(&o.mix, "mix", time.Minute, "how long the readers of the memory rows read")
	flags.DurationVar(&o.limit, "time-limit", 2*time.Hour, "for everything")
	flags.StringVar(&o.out, "out", filepath.Join("bin", "bench"), "folder for table.md, results.json and the plots")
	flags.StringVar(&o.docs, "docs", "", "Markdown file: put the table between its marks, and the plots into the folder of its name")
	flags.StringVar(&o.scratch, "scratch", "/dev/shm", "folder on tmpfs for the server's files")
	flags.StringVar(&o.local, "local", os.TempDir(), "folder on a disk for local files")
	flags.StringArrayVar(&o.mountd, "mountd-flag", nil, "a flag for every mountd, as --mountd-flag=--part-size=16MiB")
	flags.DurationVar(&o.far.FirstByte, "first-byte", o.far.FirstByte, "of the S3-like store: time to the first byte")
	flags.Int64Var(&o.far.PerConnection, "per-connection", o.far.PerConnection, "of the S3-like store: bytes per second of a connection")
	flags.Int64Var(&o.far.Total, "total", o.far.Total, "of the S3-like store: bytes per second in all")
	flags.BoolVar(&list, "list", false, "print the rows")
	flags.Usage = func() { fmt.Printf(usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return o, false, err
	}
	if o.pattern, err = regexp.Compile(*rows); err != nil {
		return o, false, fmt.Errorf("--rows: %w", err)
	}
	if o.docs != "" && *rows != "" {
		return o, false, errors.New("--docs is for all rows, without --rows: it replaces the whole table")
	}
	if o.runs < 1 || o.size < 64<<20 {
		return o, false, errors.New("at least one run, and a size of at least 64MiB")
	}
	return o, list, nil
}

func run(args []string) error {
	o, list, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	var chosen []row
	for _, r := range rows(o.far) {
		if o.pattern.MatchString(r.name) {
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
	if os.Geteuid() != 0 {
		return errors.New("dropping caches and memory cgroups need root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done within %v", o.limit))
	defer cancel()
	return measure(ctx, o, chosen)
}

// measure runs the rows and writes what came of them, also where the run ended
// early.
func measure(ctx context.Context, o options, chosen []row) (err error) {
	lab, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	results := lab.runAll(ctx, chosen)
	results.began = lab.began
	if err := results.write(o); err != nil {
		return err
	}
	if results.ended != nil {
		return results.ended
	}
	return results.verdict()
}
