// Command peers measures weightfs beside the tools that its users have today, on
// the same object, machine and stores in one run, and writes Markdown tables.
//
// A row is a place (a store, and how much memory there is for the object), a peer
// and a reader. Mounts are read by the same programs; each sample has a new mount,
// an empty cache of its own and a dropped page cache, and is then read once more,
// warm. Loaders that need no mount read the object from the store. Every load is
// timed from exec to exit by this process.
//
// A first load of each row is not timed: it compares every byte, the store's
// requests are counted by a proxy in it, which on loopback would take a part of
// the cores from what is measured, and it chooses the way of a program that has
// several.
//
// A peer that is not installed, fails or takes too long is a line of the table.
package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
)

// How long it takes at most.
const (
	sampleLimit = time.Minute      // for one load; a peer that takes longer once is not sampled again
	rowLimit    = 45 * time.Second // no sample of a row begins later than that after its first load
)

const usage = `Usage: peers [flags]

Measures mounts and loaders beside each other. Needs root, to mount and to drop
caches. Rows are named PLACE: PEER: READER.

%s`

func main() {
	workload.MainIfChild()
	lab.Main("peers", run)
}

func parse(args []string) (lab.Settings, error) {
	o := lab.Settings{Runs: 5, Size: 512 << 20, Out: filepath.Join("bin", "peers")}
	return o, o.Parse("peers", usage, args, 1<<20, nil)
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := lab.NeedRoot("mounting and dropping caches"); err != nil {
		return err
	}
	c, err := newComparison(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	results, err := c.measureAll(ctx)
	if err != nil {
		return err
	}
	return results.write(o)
}
