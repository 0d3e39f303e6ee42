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

// checkAll loads the corpus in every way.
func checkAll(ctx context.Context, r *suite, s *report) error {
	corpus := r.path("corpus")
	if _, err := r.script(ctx, "corpus.py", corpus); err != nil {
		return err
	}
	places := r.places(ctx, s, corpus)
	checkpoints, err := os.ReadDir(corpus)
	if err != nil {
		return err
	}
	for _, c := range checkpoints {
		if err := r.checkOne(ctx, s, places, c.Name()); err != nil {
			return err
		}
	}
	return nil
}

// places are the ways to the corpus that there are.
func (r *suite) places(ctx context.Context, s *report, corpus string) []place {
	heat := func(ctx context.Context, files ...string) error { return lab.Heat(ctx, 1, files...) }
	evict := func(_ context.Context, files ...string) error {
		_ = lab.Evict(files...) // on a tmpfs nothing can be
		return nil
	}
	leave := func(context.Context, ...string) error { return nil }
	all := []place{{"a folder", corpus, heat}, {"a folder, not cached", corpus, evict}}
	add := func(name, root string, err error) {
		if err != nil {
			s.skip("loads from "+name, err.Error())
			return
		}
		all = append(all, place{name, root, leave})
	}
	folder, err := r.mount(ctx, corpus)
	add("a mounted folder", folder, err)
	uri, err := r.upload(ctx, corpus)
	add("a bucket", uri, err)
	if err == nil {
		mounted, err := r.mount(ctx, uri, "--memory-limit", "64Mi")
		add("a mounted bucket", mounted, err)
	}
	return all
}

// checkOne loads one checkpoint from everywhere under every limit.
func (r *suite) checkOne(ctx context.Context, s *report, places []place, name string) error {
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
