package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"weightfs/tests/rig"
)

// The limits under which everything is loaded: unlimited, the minimum, and one
// below the largest tensor of the corpus.
var limits = [...]string{"-1", "0", "32Mi"}

// place is a way to the corpus: what stands before a checkpoint's name.
type place struct{ name, root string }

// checkAll runs the device's tests and loads the corpus in every way. Its error
// is for what kept it from checking.
func checkAll(ctx context.Context, r *suite) (*score, error) {
	s := &score{}
	if r.device != "cpu" {
		_, err := r.output(ctx, "cuda.test", "-test.count=1")
		s.add("the device's own tests", err)
	}
	corpus := r.path("corpus")
	if _, err := r.script(ctx, "corpus.py", corpus); err != nil {
		return nil, err
	}
	if err := r.server.PutDir(ctx, bucket, "corpus/", corpus); err != nil {
		return nil, err
	}
	places, err := r.places(ctx, corpus)
	if err != nil {
		return nil, err
	}
	checkpoints, err := os.ReadDir(corpus)
	if err != nil {
		return nil, err
	}
	for _, c := range checkpoints {
		if err := r.checkOne(ctx, s, places, c.Name()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (r *suite) places(ctx context.Context, corpus string) ([]place, error) {
	uri := "s3://" + bucket + "/corpus"
	folder, err := r.mount(ctx, corpus)
	if err != nil {
		return nil, err
	}
	mounted, err := r.mount(ctx, uri, "--memory-limit", "256Mi")
	if err != nil {
		return nil, err
	}
	return []place{{"a folder", corpus}, {"a mounted folder", folder}, {"a mounted bucket", mounted}, {"a bucket", uri}}, nil
}

// checkOne loads one checkpoint from everywhere under every limit, and holds it
// for another process.
func (r *suite) checkOne(ctx context.Context, s *score, places []place, name string) error {
	text, err := r.script(ctx, "digests.py", filepath.Join(r.path("corpus"), name))
	if err != nil {
		return err
	}
	want, err := rig.ParseManifest(text)
	if err != nil {
		return err
	}
	for _, p := range places {
		for _, limit := range limits {
			err := r.compare(ctx, p.root+"/"+name, limit, want)
			s.add(fmt.Sprintf("%s from %s, memory limit %s", name, p.name, limit), err)
		}
	}
	if err := r.checkHeld(ctx, s, name, want); err != nil {
		return err
	}
	return ctx.Err()
}

// compare loads a source and compares what lies on the device with want.
func (r *suite) compare(ctx context.Context, source, limit string, want map[string]rig.Tensor) error {
	manifest := r.path("manifest")
	if _, err := r.load(ctx, source, "--memory-limit", limit, "--manifest", manifest, "--verify"); err != nil {
		return err
	}
	return rig.CompareManifest(manifest, want)
}
