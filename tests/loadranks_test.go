package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"

	"weightfs/tests/rig"
)

// TestEightRanksLoadAtOnce has eight processes load the ranks 0 to 7 of a model
// at once from one mount, each under a memory limit and a concurrency: each gets
// its own tensors, and nothing is fetched twice.
func TestEightRanksLoadAtOnce(t *testing.T) {
	t.Parallel()
	const name, ranks = "ranks", 8
	dir, size := writeRanks(t, ranks)
	theStage.server.Fill(t, name, nil)
	if err := theStage.server.PutDir(t.Context(), name, "", dir); err != nil {
		t.Fatal(err)
	}
	p, env := proxied(t)
	mnt := mountWith(t, rig.MountOptions{Source: "s3://" + name, Env: env})
	p.ResetStats()
	manifests := t.TempDir()
	var g errgroup.Group
	for rank := range ranks {
		g.Go(func() error { return loadRank(t, mnt.Dir, manifests, rank) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for rank := range ranks {
		expectRank(t, dir, filepath.Join(manifests, strconv.Itoa(rank)), rank)
	}
	if got := p.Stats().Bytes["GET"]; got < size || got > size*11/10 {
		t.Errorf("%d bytes were fetched of %d", got, size)
	}
}

// writeRanks writes a model of so many ranks, each of two parts with tensors and
// an empty one between them, and returns its folder and the bytes of its files.
func writeRanks(t *testing.T, ranks int) (dir string, size int64) {
	t.Helper()
	dir = t.TempDir()
	for rank := range ranks {
		spec := rig.Checkpoint{Shards: 2, Size: 24 << 20, TensorSize: 5 << 20, Odd: rank%2 == 1, Seed: uint64(rank)}
		names, err := rig.WriteCheckpoint(dir, spec)
		if err != nil {
			t.Fatal(err)
		}
		part := func(i int) string {
			return filepath.Join(dir, fmt.Sprintf("model-rank-%d-part-%d.safetensors", rank, i))
		}
		empty := []byte("\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
		err = errors.Join(os.Rename(filepath.Join(dir, names[0]), part(0)), os.WriteFile(part(1), empty, 0o644),
			os.Rename(filepath.Join(dir, names[1]), part(10)), os.Remove(filepath.Join(dir, "model.safetensors.index.json")))
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return dir, size
}

// loadRank loads one rank and writes its manifest into a file of its number.
func loadRank(t *testing.T, source, manifests string, rank int) error {
	const limit = 3 << 20
	r, err := rig.Run(t.Context(), nil, theStage.Gpuload, "load", "--device", "cpu", "--json", "--rank", strconv.Itoa(rank),
		"--model-loader-extra-config", fmt.Sprintf(`{"concurrency":5,"memory_limit":%d}`, limit),
		"--manifest", filepath.Join(manifests, strconv.Itoa(rank)), source)
	if err != nil {
		return err
	}
	var report struct {
		Concurrency int
		Files       int
		Peak        int64 `json:"staging_peak_bytes"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || r.Code != 0 || r.Stderr != "" {
		return fmt.Errorf("rank %d: exit %d: %s%s", rank, r.Code, r.Stdout, r.Stderr)
	}
	if report.Concurrency != 5 || report.Files != 3 || report.Peak > limit || report.Peak == 0 {
		return fmt.Errorf("rank %d: %s", rank, r.Stdout)
	}
	return nil
}

// expectRank compares a manifest with what Python reads of the rank's files.
func expectRank(t *testing.T, dir, manifest string, rank int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("model-rank-%d-part-*.safetensors", rank)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := theStage.Reference(t.Context(), files...)
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.CompareManifest(manifest, want); err != nil {
		t.Errorf("rank %d: %v", rank, err)
	}
}
