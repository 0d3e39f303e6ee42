package faults

import (
	"fmt"
	"path"
	"testing"

	"pgregory.net/rapid"

	"weightfs/tests/rig"
)

// modelReaders is how many processes read at once.
const modelReaders = 3

// TestMatchesModel draws keys, contents, a mount with little memory, and what is
// done to them, and compares the mount with the model after each step.
func TestMatchesModel(t *testing.T) {
	t.Parallel()
	t.Run("real server", func(t *testing.T) {
		t.Parallel()
		const bucket = "model"
		noError(t, theStage.Server.CreateBucket(t.Context(), bucket))
		checkModels(t, realStore{bucket}, theStage.Server.Env(), true)
	})
	t.Run("any keys", func(t *testing.T) {
		t.Parallel()
		store, env := startMemoryStore(t)
		checkModels(t, store, env, false)
	})
}

// checkModels draws models. With asFiles, the keys are such as a folder can hold.
func checkModels(t *testing.T, store modelStore, env []string, asFiles bool) {
	noError(t, store.put("anchor", []byte("an empty bucket is refused")))
	readers := make([]*reader, modelReaders)
	for i := range readers {
		readers[i] = startReader(t)
	}
	models, operations := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		models++
		m := newModel(t, rt, &model{store: store, readers: readers, folder: fmt.Sprintf("model-%d", models), last: models << 20}, env, asFiles)
		steps := m.steps()
		steps[""] = func(*rapid.T) { operations++ }
		rt.Repeat(steps)
		m.closeAll(t)
		checkQuiet(t, m.mount)
	})
	t.Logf("%d operations on %d models", operations, models)
	if operations < 10*models {
		t.Errorf("only %d operations on %d models", operations, models)
	}
}

// newModel draws the keys of m and mounts its store, for as long as it is used.
func newModel(t *testing.T, rt *rapid.T, m *model, env []string, asFiles bool) *model {
	m.keys = drawKeys(rt, asFiles)
	m.dirs = foldersOf(m.keys)
	m.history, m.handles = map[string][][]byte{}, map[int]*handle{}
	for _, key := range m.keys {
		m.history[key] = [][]byte{nil}
	}
	flags := []string{
		"--metadata-ttl", "200ms",
		"--memory-limit", fmt.Sprint(rapid.Int64Range(16<<20, 40<<20).Draw(rt, "memory limit")),
		"--part-size", rapid.SampledFrom([]string{"1Mi", "2Mi", "8Mi"}).Draw(rt, "part size"),
		"--prefetch", rapid.SampledFrom([]string{"auto", "sequential", "off"}).Draw(rt, "prefetch"),
	}
	mount, err := theStage.Mount(t.Context(), rig.MountOptions{Source: "s3://model", Env: env, Args: flags})
	if err != nil {
		rt.Fatalf("mount with %q: %v", flags, err)
	}
	m.mount, m.dir = mount, path.Join(mount.Dir, m.folder)
	rt.Logf("%s has the keys %q, mounted with %q", m.folder, m.keys, flags)
	rt.Cleanup(func() { // also of a model that was given up half way
		m.closeAll(t)
		if err := mount.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func (m *model) closeAll(t *testing.T) {
	for n := range m.handles {
		m.closeHandle(t, n)
	}
}
