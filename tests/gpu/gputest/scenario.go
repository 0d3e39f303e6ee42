package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// scenario is one way to the large checkpoint, for gpuload and the bare loop.
type scenario struct {
	name  string
	flags []string // for bareloop
	// least is what is promised of the bare loop's rate; 0 for nothing.
	least float64
	// overlaps says that the first bytes are there before a context can be.
	overlaps bool
	// root makes the checkpoint ready for one load and returns the folder or URI that
	// it is in. done is called after the load, and fails where the source was not in
	// the state that name says.
	root func(ctx context.Context, r *suite) (root string, done func(context.Context) error, err error)
}

// writeLarge writes the large checkpoint, which is also in the bucket where there is
// one.
func writeLarge(ctx context.Context, r *suite, _ *report) error {
	dir := r.path("large")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: processes, Size: r.size})
	if err != nil {
		return err
	}
	r.large = names
	_, err = r.upload(ctx, dir)
	return err
}

// largeURI is where the large checkpoint is in the bucket.
const largeURI = "s3://" + bucket + "/large"

func (r *suite) scenarios() []scenario {
	nothing := func(context.Context) error { return nil }
	return []scenario{
		{name: "local files, in the page cache", least: leastOfLoop, overlaps: true, root: func(ctx context.Context, r *suite) (string, func(context.Context) error, error) {
			dir := r.path("large")
			return dir, nothing, lab.Heat(ctx, 1, under(dir, r.large)...)
		}},
		// The bare loop is the plain client there.
		{name: "straight from the bucket", least: leastOfClient, flags: []string{"--readers", "32"}, root: func(context.Context, *suite) (string, func(context.Context) error, error) {
			return largeURI, nothing, r.noServer
		}},
		{name: "mounted bucket, blocks held by mountd", least: leastOfLoop, flags: []string{"--direct"}, root: r.held()},
		{name: "mounted bucket, cold", flags: []string{"--direct"}, root: func(ctx context.Context, r *suite) (string, func(context.Context) error, error) {
			m, err := r.programs.Mount(ctx, r.largeMount())
			if err != nil {
				return "", nil, err
			}
			return m.Dir, func(context.Context) error { return m.Close() }, nil
		}},
	}
}

// largeMount has room for all of the checkpoint.
func (r *suite) largeMount() rig.MountOptions {
	return rig.MountOptions{Source: largeURI, Env: r.env(), Args: []string{"--memory-limit", fmt.Sprint(r.size + r.size/4 + 256<<20)}}
}

// held is a mount whose daemon holds every block after the first load: it fails where
// that has fetched anything in a later one.
func (r *suite) held() func(context.Context, *suite) (string, func(context.Context) error, error) {
	var m *rig.Mount
	loads, before := 0, int64(0)
	return func(ctx context.Context, r *suite) (string, func(context.Context) error, error) {
		if m == nil {
			var err error
			if m, err = r.programs.Mount(ctx, r.largeMount()); err != nil {
				return "", nil, err
			}
			r.mounts = append(r.mounts, m)
		}
		return m.Dir, func(ctx context.Context) error {
			measures, err := lab.Measures(ctx, r.programs.Mountd, m.Dir)
			if err != nil {
				return err
			}
			fetched, ok := measures["fetched_bytes_total"]
			if !ok {
				return errors.New("mountd status has no fetched_bytes_total")
			}
			last := before
			before = fetched
			if loads++; loads > 1 && fetched > last {
				return fmt.Errorf("mountd fetched %d bytes in a run that was to find all of them held", fetched-last)
			}
			return nil
		}, nil
	}
}

// once makes the source ready, and takes one load.
func (sc scenario) once(ctx context.Context, r *suite, take func(ctx context.Context, root string) (lab.Load, error)) (l lab.Load, err error) {
	root, done, err := sc.root(ctx, r)
	if err != nil {
		return l, err
	}
	l, err = take(ctx, root)
	return l, errors.Join(err, done(context.WithoutCancel(ctx)))
}
