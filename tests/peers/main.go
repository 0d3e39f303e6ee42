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
)

// options are the flags.
type options struct {
	runs    int
	size    cli.Size
	limit   time.Duration
	pattern *regexp.Regexp
	out     string
	docs    string
	scratch string
	local   string
}

const usage = `Usage: peers [flags]

Measures mounts and loaders beside each other. Needs root, to drop caches.

%s`

func main() {
	if workload.IsChild(os.Args) {
		if err := workload.Main(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{size: 1 << 30}
	flags := pflag.NewFlagSet("peers", pflag.ContinueOnError)
	pattern := flags.String("rows", "", "regular expression: the rows to measure, STORE: PEER: READER (all)")
	flags.IntVar(&o.runs, "runs", 3, "samples of each row")
	flags.Var(&o.size, "size", "bytes of the object")
	flags.DurationVar(&o.limit, "sample-limit", 3*time.Minute, "for one sample")
	flags.StringVar(&o.out, "out", filepath.Join("bin", "peers"), "folder for table.md, results.json and the plots")
	flags.StringVar(&o.docs, "docs", "", "folder of documents: put the tables between their marks, and the plots into its folder benchmarks")
	flags.StringVar(&o.scratch, "scratch", "/dev/shm", "folder on tmpfs for the server's files and the peers' caches")
	flags.StringVar(&o.local, "local", os.TempDir(), "folder on a disk for copies")
	flags.Usage = func() { fmt.Printf(usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.pattern, err = regexp.Compile(*pattern); err != nil {
		return o, fmt.Errorf("--rows: %w", err)
	}
	if o.docs != "" && *pattern != "" {
		return o, errors.New("--docs is for all rows, without --rows")
	}
	if o.runs < 1 || o.size < 1<<20 {
		return o, errors.New("at least one run, and a size of at least 1MiB")
	}
	return o, nil
}

func run(args []string) (err error) {
	o, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("dropping caches needs root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	results := l.measureAll(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(results.lines) == 0 {
		return errors.New("no row of that name")
	}
	return results.write(o)
}
