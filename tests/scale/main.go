// Command scale measures how long a fleet of nodes takes until its last node has read an
// object, and how much of it is asked of the store, by the number of nodes: without a
// shared cache, with one on three machines of its own, and with one on every node. It
// writes a Markdown table and plots.
//
// A node is a network namespace with a link of its own, a mountd and a reader that
// checks every byte. The store is a real S3 server behind the narrowest link, and a
// proxy there counts what it sends. Rates are scaled down to what two cores carry;
// package model, a simulation that is calibrated by what was measured, carries the
// curves on to a thousand nodes and links of 100 Gb/s.
//
// main.go has the flags, network.go machines and links, scene.go the store and the
// nodes, cache.go the shared cache, measure.go one sample, calibrate.go what it says of
// the model, and results.go what is written. Everything runs in namespaces of its own,
// and on file systems of its own: whatever is left ends with them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

const (
	// startLimit bounds the wait for what starts.
	startLimit = 30 * time.Second
	// sampleLimit bounds a sample: past it somebody hangs.
	sampleLimit = 5 * time.Minute
	// burst is what a link may send at once, in bytes: some packets of the largest
	// size that a virtual link has.
	burst = 256 << 10
)

// options are the flags.
type options struct {
	lab.Settings
	nodes     []int
	storeRate cli.Size // bytes per second
	nodeRate  cli.Size // the same
	again     string   // results of an earlier run
}

const usage = `Usage: scale [flags]

Measures fleets of nodes in network namespaces, and simulates larger ones. Needs
root. Rows are named after where the shared cache is.

%s`

func main() {
	if o, err := parse(os.Args[1:]); err == nil && o.again == "" {
		if code, again := rig.RunInside("--net"); again {
			os.Exit(code)
		}
	}
	lab.Main("scale", run)
}

func parse(args []string) (options, error) {
	o := options{Settings: lab.Settings{Runs: 1, Size: 128 << 20, Out: filepath.Join("bin", "fleet")}, storeRate: 20e6, nodeRate: 40e6}
	err := o.Parse("scale", usage, args, 1<<20, func(flags *pflag.FlagSet) {
		flags.IntSliceVar(&o.nodes, "nodes", []int{1, 2, 4, 8, 16}, "how many nodes there are, in turn")
		flags.Var(&o.storeRate, "store-rate", "bytes per second of the store's link")
		flags.Var(&o.nodeRate, "node-rate", "bytes per second of every other link")
		flags.StringVar(&o.again, "again", "", "measure nothing: calibrate and simulate by the results.json of an earlier run")
	})
	if err != nil {
		return o, err
	}
	for _, n := range o.nodes {
		if n < 1 || n > maxNodes {
			return o, fmt.Errorf("--nodes: %d is not between 1 and %d", n, maxNodes)
		}
	}
	if o.storeRate < burst || o.nodeRate < burst {
		return o, fmt.Errorf("a link carries at least %d bytes per second", burst)
	}
	return o, nil
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.again != "" {
		all, err := readResults(o.again)
		if err != nil {
			return err
		}
		return all.write(o)
	}
	if err := ownFiles(); err != nil {
		return err
	}
	s, err := newScene(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all, err := s.measureAll(ctx)
	if err != nil {
		return err
	}
	return all.write(o)
}

// ownFiles puts file systems, which end with this program, where files of a run go: its
// own, the S3 server's, and the control sockets.
func ownFiles() error {
	for _, dir := range []string{"/dev/shm", "/run"} {
		if err := unix.Mount("scale", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
		}
	}
	return os.Setenv("TMPDIR", "/dev/shm")
}
