package main

import (
	"context"
	"errors"
	"fmt"

	"weightfs/tests/lab"
)

// scenario is one way to the large checkpoint, for both programs.
type scenario struct {
	name   string
	source string   // for gpuload
	files  []string // for bareloop
	flags  []string // for bareloop
	// least is what is promised of the bare loop's rate.
	least float64
	// holds is asked before every run that counts, and after the last one: it
	// fails where the source is not in the state that name says.
	holds func(ctx context.Context) error
	// overlaps says that the first bytes are there before a context can be.
	overlaps bool
}

// scenarios are the ways to the checkpoint in dir, which is also in the bucket.
func (r *suite) scenarios(ctx context.Context, dir string, names []string, uri string) ([]scenario, error) {
	if err := r.server.PutDir(ctx, bucket, "large/", dir); err != nil {
		return nil, err
	}
	// Room for all of it, so that the daemon holds every block after one load.
	mounted, err := r.mount(ctx, uri, "--memory-limit", fmt.Sprint(r.size+r.size/4+256<<20))
	if err != nil {
		return nil, err
	}
	local := under(dir, names)
	return []scenario{{
		name: "local files, in the page cache", source: dir, files: local, least: leastOfLoop, overlaps: true,
		holds: func(ctx context.Context) error { return lab.Heat(ctx, 1, local...) },
	}, {
		name: "mounted bucket, blocks held by mountd", source: mounted, files: under(mounted, names), least: leastOfLoop,
		flags: []string{"--direct"}, holds: r.heldBy(mounted),
	}, {
		// The bare loop is the plain client there.
		name: "straight from the bucket", source: uri, files: under(uri, names), least: leastOfClient,
		flags: []string{"--readers", "32"}, holds: func(context.Context) error { return nil },
	}}, nil
}

// heldBy fails, from its second call on, where the daemon has fetched anything
// since the call before.
func (r *suite) heldBy(mounted string) func(context.Context) error {
	before := int64(-1)
	return func(ctx context.Context) error {
		measures, err := lab.Measures(ctx, r.programs.Mountd, mounted)
		if err != nil {
			return err
		}
		fetched, ok := measures["fetched_bytes_total"]
		if !ok {
			return errors.New("mountd status has no fetched_bytes_total")
		}
		last := before
		before = fetched
		if last >= 0 && fetched > last {
			return fmt.Errorf("mountd fetched %d bytes in a run that was to find all of them held", fetched-last)
		}
		return nil
	}
}
