package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"weightfs/gpuload/safetensors"
	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// limits are those under which everything is loaded, and how much staging each
// allows: no limit, the minimum, of 32 readers and half as many more, and less than
// one part.
func limits() map[string]int64 {
	return map[string]int64{"-1": math.MaxInt64, "0": 48 << 20, "1Mi": 1 << 20}
}

// place is a way to the corpus: what stands before a checkpoint's name, and what is
// done with the files before each load.
type place struct {
	name, root string
	before     func(ctx context.Context, files ...string) error
}

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
	mounted, err := r.mount(ctx, uri, "--memory-limit", "64Mi")
	if err != nil {
		return nil, err
	}
	heat := func(ctx context.Context, files ...string) error { return lab.Heat(ctx, 1, files...) }
	evict := func(_ context.Context, files ...string) error {
		_ = lab.Evict(files...) // on a tmpfs nothing can be
		return nil
	}
	leave := func(context.Context, ...string) error { return nil }
	return []place{
		{"a folder", corpus, heat}, {"a folder, not cached", corpus, evict}, {"a mounted folder", folder, leave},
		{"a mounted bucket", mounted, leave}, {"a bucket", uri, leave},
	}, nil
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
	if name == "odd0" {
		s.add("the corpus has every dtype", hasEveryDType(want))
	}
	files, err := filepath.Glob(filepath.Join(r.path("corpus"), name, "*"))
	if err != nil {
		return err
	}
	few := name == "many" || strings.HasPrefix(name, "odd") && name != "odd0" // takes long, or is much like another
	for _, p := range places {
		for limit, staging := range limits() {
			if few && limit != "1Mi" {
				continue
			}
			err := p.before(ctx, files...)
			if err == nil {
				err = r.compare(ctx, p.root+"/"+name, limit, staging, want)
			}
			s.add(fmt.Sprintf("%s from %s, memory limit %s", name, p.name, limit), err)
		}
	}
	if err := r.checkHeld(ctx, s, name, want); err != nil {
		return err
	}
	return ctx.Err()
}

// hasEveryDType fails where the format has a dtype of which there is no tensor.
func hasEveryDType(corpus map[string]rig.Tensor) error {
	found := map[string]bool{}
	for _, t := range corpus {
		found[t.Dtype] = true
	}
	for d := safetensors.F4; d <= safetensors.U64; d++ {
		if !found[d.String()] {
			return fmt.Errorf("no tensor of dtype %s", d)
		}
	}
	return nil
}

// compare loads a source and compares what lies on the device with want, and the
// staging that it took with what its limit allows.
func (r *suite) compare(ctx context.Context, source, limit string, staging int64, want map[string]rig.Tensor) error {
	manifest := r.path("manifest")
	load, err := r.load(ctx, source, "--memory-limit", limit, "--manifest", manifest, "--verify")
	if err != nil {
		return err
	}
	if load.Staging <= 0 || load.Staging > staging {
		return fmt.Errorf("%d bytes of staging", load.Staging)
	}
	return rig.CompareManifest(manifest, want)
}
