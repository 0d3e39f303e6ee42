package gpuload_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"weightfs/gpuload"
	"weightfs/gpuload/safetensors"
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
	if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, dir); !errors.Is(err, safetensors.ErrSeveralRanks) {
		t.Errorf("without a rank: %v, want ErrSeveralRanks", err)
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

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	tensors := everyDType("", 10)
	path := write(t, dir, "blob", tensors)
	link := filepath.Join(t.TempDir(), "model.safetensors")
	check(t, os.Symlink(path, link))
	loadAndCompare(t, open(t, link), tensors, gpuload.Options{})               // a link to a blob
	loadAndCompare(t, open(t, filepath.Dir(link)), tensors, gpuload.Options{}) // and its folder
	loadAndCompare(t, open(t, path), tensors, gpuload.Options{})               // a name without suffix

	check(t, os.Mkdir(filepath.Join(dir, "folder.safetensors"), 0o700))
	for _, arg := range []string{dir, os.DevNull} {
		if _, err := gpuload.OpenSource(t.Context(), gpuload.SourceConfig{}, arg); err == nil {
			t.Errorf("%s: want an error", arg)
		}
	}
}
