// Command bench measures what readers get through a mount against what a plain
// ranged-GET client gets from the same S3 server on the same machine, and
// writes a Markdown table and a plot of the ratios.
//
// Each row is measured in pairs: client, mount, client, mount, so that what
// else the machine does falls on both; the table has the medians. Everything is
// cold for the mount: it is made anew for each sample, and the kernel's page
// cache is dropped before. The server's files lie on tmpfs, which that does not
// drop. One pair before the first one is thrown away, so that the memory of the
// machine has been touched. Readers and client are children, never this process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
)

// options are the flags of the measuring side.
type options struct {
	runs    int
	size    cli.Size
	rows    string
	out     string
	scratch string
	mountd  []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 3 && os.Args[1] == "read" {
		err = runReader(ctx, os.Args[2])
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := options{size: 1 << 30}
	flags := pflag.NewFlagSet("bench", pflag.ExitOnError)
	flags.IntVar(&o.runs, "runs", 5, "samples of each side of a row")
	flags.Var(&o.size, "size", "bytes of the object")
	flags.StringVar(&o.rows, "rows", "", "regular expression: the rows to measure (all)")
	flags.StringVar(&o.out, "out", filepath.Join("bin", "bench"), "folder for results.md, results.json and ratios.svg")
	flags.StringVar(&o.scratch, "scratch", "/dev/shm", "folder on tmpfs for the server's files")
	flags.StringArrayVar(&o.mountd, "mountd-flag", nil, "a flag for mountd, as --mountd-flag=--part-size=16MiB")
	flags.Usage = func() { fmt.Printf("Usage: bench [flags]\n\n%s", flags.FlagUsages()) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	pattern, err := regexp.Compile(o.rows)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("dropping the page cache needs root")
	}
	return measure(ctx, o, pattern)
}

// measure runs the rows and writes what came of them.
func measure(ctx context.Context, o options, pattern *regexp.Regexp) (err error) {
	lab, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.close()) }()
	var results []result
	for _, r := range rows() {
		if !pattern.MatchString(r.name) {
			continue
		}
		res, err := lab.measure(ctx, r, o.runs)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Printf("%-40s %s\n", r.name, res.line())
		results = append(results, res)
	}
	return write(o, results)
}

// write puts the table, the samples and the plot into the folder for results.
func write(o options, results []result) error {
	if len(results) == 0 {
		return errors.New("no row of that name")
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	samples, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	table := markdown(o, results)
	fmt.Println()
	fmt.Print(table)
	return errors.Join(
		os.WriteFile(filepath.Join(o.out, "results.md"), []byte(table), 0o644),
		os.WriteFile(filepath.Join(o.out, "results.json"), samples, 0o644),
		os.WriteFile(filepath.Join(o.out, "ratios.svg"), []byte(plot(results)), 0o644))
}
