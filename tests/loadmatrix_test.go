package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/gpuload/safetensors"
	"weightfs/tests/rig"
)

// way is a way to the bytes of a folder of checkpoints.
type way struct {
	name string
	root string
	// before, if set, runs before each load of that checkpoint.
	before func(t *testing.T, checkpoint string)
}

// TestLoadMatrix loads what is hard to load right by every way under every
// memory limit, and compares each tensor on the device with what Python reads
// of the originals: every dtype, scalars, tensors without bytes, an empty
// shard, 100,000 small tensors, one larger than the limit, misaligned ones, and
// files that end on a part's border, a byte before it and a byte after it.
func TestLoadMatrix(t *testing.T) {
	t.Parallel()
	corpus := makeCorpus(t)
	checkpoints, err := filepath.Glob(filepath.Join(corpus, "*[^1-7]")) // of odd0 to odd7 one
	if err != nil {
		t.Fatal(err)
	}
	ways := waysTo(t, corpus)
	for _, dir := range checkpoints {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			loadByAll(t, dir, ways)
		})
	}
}

// loadByAll loads one checkpoint by every way and under every limit: of many
// tensors, which take long to compare, under the limit that has one part at a time.
func loadByAll(t *testing.T, dir string, ways []way) {
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := theStage.Reference(t.Context(), files...)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, limits := filepath.Base(dir), []string{"-1", "0", "1Mi"}
	switch checkpoint {
	case "odd0":
		checkEveryDType(t, want)
	case "many":
		limits = limits[2:]
	}
	for _, w := range ways {
		for _, limit := range limits {
			t.Run(fmt.Sprintf("%s/limit=%s", w.name, limit), func(t *testing.T) {
				if w.before != nil {
					w.before(t, checkpoint)
				}
				checkMatrixLoad(t, w.root+"/"+checkpoint, limit, want)
			})
		}
	}
}

// checkEveryDType holds that the corpus has a tensor of each dtype of the format.
func checkEveryDType(t *testing.T, corpus map[string]rig.Tensor) {
	t.Helper()
	for d := safetensors.F4; d <= safetensors.U64; d++ {
		if !slices.ContainsFunc(slices.Collect(maps.Values(corpus)), func(x rig.Tensor) bool { return x.Dtype == d.String() }) {
			t.Errorf("the corpus has no tensor of dtype %s", d)
		}
	}
}

// makeCorpus writes the checkpoints, with Python and none of our code, and
// returns their folder.
func makeCorpus(t *testing.T) string {
	t.Helper()
	corpus := filepath.Join(t.TempDir(), "corpus")
	output(t, theStage.Python, filepath.Join("gpu", "gputest", "corpus.py"), corpus)
	return corpus
}

// waysTo uploads and mounts the folder for the length of the test.
func waysTo(t *testing.T, corpus string) []way {
	t.Helper()
	const name = "corpus"
	theStage.server.Fill(t, name, nil)
	if err := theStage.server.PutDir(t.Context(), name, "", corpus); err != nil {
		t.Fatal(err)
	}
	return []way{
		{name: "cached", root: corpus, before: func(t *testing.T, checkpoint string) { eachFile(t, corpus, checkpoint, readThrough) }},
		{name: "evicted", root: corpus, before: func(t *testing.T, checkpoint string) { eachFile(t, corpus, checkpoint, evict) }},
		{name: "mounted-folder", root: mount(t, corpus).Dir},
		{name: "mounted-bucket", root: mount(t, "s3://"+name, "--memory-limit", "64Mi").Dir},
		{name: "bucket", root: "s3://" + name},
	}
}

// eachFile calls do with each file of a checkpoint.
func eachFile(t *testing.T, corpus, checkpoint string, do func(f *os.File) error) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(corpus, checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f, err := os.OpenFile(filepath.Join(corpus, checkpoint, e.Name()), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(f); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// readThrough brings a file into the page cache, so that gpuload reads it from
// there.
func readThrough(f *os.File) error {
	_, err := os.ReadFile(f.Name())
	return err
}

// evict takes a file out of the page cache, so that gpuload reads past it.
func evict(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// checkMatrixLoad loads source and compares tensors and staging.
func checkMatrixLoad(t *testing.T, source, limit string, want map[string]rig.Tensor) {
	t.Helper()
	manifest := filepath.Join(t.TempDir(), "manifest")
	report := output(t, theStage.Gpuload, "load", "--device", "cpu", "--json", "--memory-limit", limit, "--manifest", manifest, source)
	if err := rig.CompareManifest(manifest, want); err != nil {
		t.Error(err)
	}
	checkStaging(t, report, limit)
}

// checkStaging holds the staging that a load says it took to its memory limit.
func checkStaging(t *testing.T, report, limit string) {
	t.Helper()
	var r struct {
		Peak int64 `json:"staging_peak_bytes"`
	}
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatal(err)
	}
	bounds := map[string]int64{"0": 48 << 20, "1Mi": 1 << 20} // 0: 32 readers, and half as many more
	if most, ok := bounds[limit]; ok && r.Peak > most || r.Peak <= 0 {
		t.Errorf("memory limit %s: %d bytes of staging", limit, r.Peak)
	}
}
