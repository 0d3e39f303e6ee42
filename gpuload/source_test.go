package gpuload_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
	"weightfs/remote"
)

// writeIndex writes a shard index: tensor to file.
func writeIndex(t *testing.T, dir string, weights map[string]string) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"weight_map": weights})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, safetensors.DefaultIndex), text, 0o600))
}

func TestIndexDecides(t *testing.T) {
	dir := t.TempDir()
	tensors := everyDType("", 10)
	write(t, dir, "model-00001-of-00001.safetensors", tensors)
	write(t, dir, "consolidated.safetensors", tensors) // the same, again
	weights := make(map[string]string)
	for _, c := range tensors {
		weights[c.name] = "model-00001-of-00001.safetensors"
	}
	writeIndex(t, dir, weights)
	loadAndCompare(t, open(t, dir), tensors, gpuload.Options{})

	weights["more"] = "model-00001-of-00001.safetensors"
	writeIndex(t, dir, weights)
	if err := loadFails(t, newCPU(t, 0), open(t, dir), gpuload.Options{}); !errors.Is(err, safetensors.ErrMissingTensor) {
		t.Errorf("%v, want ErrMissingTensor", err)
	}

	weights["more"] = "model-00002-of-00002.safetensors"
	writeIndex(t, dir, weights)
	_, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, dir)
	if !errors.Is(err, safetensors.ErrMissingShard) {
		t.Errorf("%v, want ErrMissingShard", err)
	}
}

func TestShardsOfOneRank(t *testing.T) {
	dir := t.TempDir()
	ranks := make(map[int][]content)
	for _, rank := range []int{0, 1, 11} {
		for _, part := range []int{3, 0} {
			tensors := everyDType(fmt.Sprintf("%d.%d.", rank, part), 100)
			write(t, dir, fmt.Sprintf("model-rank-%d-part-%d.safetensors", rank, part), tensors)
			ranks[rank] = append(ranks[rank], tensors...)
		}
	}
	if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, dir); !errors.Is(err, safetensors.ErrRankNotChosen) {
		t.Errorf("without a rank: %v, want ErrRankNotChosen", err)
	}
	for rank, want := range ranks {
		cfg := gpuload.SourceConfig{Shard: &gpuload.Shard{Rank: rank}}
		src, err := gpuload.OpenSource(t.Context(), cfg, dir)
		if err != nil {
			t.Fatal(err)
		}
		loadAndCompare(t, src, want, gpuload.Options{})
		check(t, src.Close())
	}
	for _, shard := range []gpuload.Shard{{Rank: 2}, {Rank: 0, Pattern: "other-{rank}-{part}.safetensors"}, {Rank: 0, Pattern: "{rank}"}} {
		if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{Shard: &shard}, dir); err == nil {
			t.Errorf("%+v: want an error", shard)
		}
	}
}

func TestPartialSource(t *testing.T) {
	dir := t.TempDir()
	first, second := everyDType("1.", 10), everyDType("2.", 10)
	write(t, dir, "m-1-of-3.safetensors", first)
	write(t, dir, "m-2-of-3.safetensors", second)
	expectPartial(t, dir, 2, `missing shard: 2 of 3 shards of "m" are there; missing: 3`)

	writeIndex(t, dir, map[string]string{
		first[0].name: "m-1-of-3.safetensors", "absent": "m-1-of-3.safetensors", "more": "m-1-of-3.safetensors",
		"there": "gone.safetensors", "inside": "sub/gone.safetensors",
	})
	expectPartial(t, dir, 1, `missing shard: "gone.safetensors"`, "sub/gone.safetensors: file does not exist",
		`missing tensor "absent"`, `missing tensor "more"`)
}

// expectPartial opens so many files of a source in spite of its problems, each
// of which says what is wanted of it, and that a load is refused.
func expectPartial(t *testing.T, dir string, files int, want ...string) {
	t.Helper()
	src, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{Partial: true}, dir)
	check(t, err)
	headers := make([]*safetensors.Header, len(src.Files()))
	for i, f := range src.Files() {
		headers[i], err = f.Header(t.Context())
		check(t, err)
	}
	var got []string
	for _, problem := range src.Problems(headers) {
		got = append(got, problem.Error())
	}
	if len(headers) != files || !slices.EqualFunc(got, want, strings.Contains) {
		t.Errorf("%d files with problems %q, want %d with %q", len(headers), got, files, want)
	}
	if err := loadFails(t, newCPU(t, 0), src, gpuload.Options{}); !strings.Contains(err.Error(), want[0]) {
		t.Errorf("the load fails with %v, want %s", err, want[0])
	}
	clear(headers) // none could be read
	if left := src.Problems(headers); len(left) > len(got) {
		t.Errorf("without headers there are problems %q", left)
	}
	check(t, src.Close())
}

func TestRankOfAFile(t *testing.T) {
	path := write(t, t.TempDir(), "model-rank-0-part-0.safetensors", everyDType("", 10))
	_, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{Shard: &gpuload.Shard{}}, path)
	if err == nil || !strings.Contains(err.Error(), "rank 0 is chosen among the files of a folder") {
		t.Errorf("%v: want an error that says that a file has no ranks to choose from", err)
	}
	loadAndCompare(t, open(t, path), everyDType("", 10), gpuload.Options{})
}

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	tensors := everyDType("", 10)
	path := write(t, dir, "blob", tensors)
	link := filepath.Join(t.TempDir(), "model.safetensors")
	check(t, os.Symlink(path, link))
	loadAndCompare(t, open(t, link), tensors, gpuload.Options{}) // a link to a blob
	loadAndCompare(t, open(t, path), tensors, gpuload.Options{}) // a name without suffix

	check(t, os.Mkdir(filepath.Join(dir, "folder.safetensors"), 0o700))
	for _, arg := range []string{dir, os.DevNull} {
		if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, arg); err == nil {
			t.Errorf("%s: want an error", arg)
		}
	}
}

// TestLinksOfAFolder holds that a link in a folder is followed within it and to the blobs
// of its own Hugging Face repository, and that one to anywhere else is an error,
// also where it is the index or a folder that the index names.
func TestLinksOfAFolder(t *testing.T) {
	tensors, dir := everyDType("", 10), t.TempDir()
	folder := func(names ...string) string {
		path := filepath.Join(append([]string{dir}, names...)...)
		check(t, os.MkdirAll(path, 0o700))
		return path
	}
	link := func(target, in string) { check(t, os.Symlink(target, filepath.Join(in, "model.safetensors"))) }

	inner := folder("inner", "data")
	write(t, inner, "weights", tensors)
	link("data/weights", folder("inner"))
	write(t, folder("models--org--name", "blobs"), "abc", tensors)
	link("../../blobs/abc", folder("models--org--name", "snapshots", "rev"))
	check(t, os.Symlink(folder("models--org--name", "snapshots", "rev"), filepath.Join(dir, "alias")))
	for _, name := range []string{"inner", "models--org--name/snapshots/rev", "alias"} {
		loadAndCompare(t, open(t, filepath.Join(dir, name)), tensors, gpuload.Options{})
	}

	outside := filepath.Join(inner, "weights")
	link(outside, folder("absolute"))
	link("../inner/data/weights", folder("relative"))
	link("../../../models--org--name/blobs/abc", folder("models--org--other", "snapshots", "rev"))
	check(t, os.WriteFile(filepath.Join(inner, "index"), []byte(`{"weight_map":{"w":"sub/weights"}}`), 0o600))
	check(t, os.Symlink(filepath.Join(inner, "index"), filepath.Join(folder("index"), "model.safetensors.index.json")))
	check(t, os.Rename(filepath.Join(inner, "index"), filepath.Join(folder("subfolder"), "model.safetensors.index.json")))
	check(t, os.Symlink(inner, filepath.Join(dir, "subfolder", "sub")))
	for name, end := range map[string]string{
		"absolute": "inner/data/weights", "relative": "inner/data/weights", "models--org--other/snapshots/rev": "models--org--name/blobs/abc",
		"index": "inner/data/index", "subfolder": "inner/data/weights",
	} {
		_, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, filepath.Join(dir, name))
		if !errors.Is(err, remote.ErrOutside) || !strings.HasSuffix(err.Error(), "leads outside of the folder, to "+filepath.Join(dir, end)) {
			t.Errorf("%s: %v, want ErrOutside and where the link leads", name, err)
		}
	}
	expectPartial(t, filepath.Join(dir, "relative"), 0, "leads outside of the folder")
}
