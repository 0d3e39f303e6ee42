package clients

import (
	"fmt"
	"path/filepath"
	"testing"

	"weightfs/tests/rig"
)

// engine is a way in which Run:ai Model Streamer reads files.
type engine struct {
	strategy string
	// fio is the engine of fio that the kernel lets be used where it lets this one;
	// "" where it always does.
	fio string
	// traces are what strace sees of it alone.
	traces []string
}

// engines are all that version 0.17 has. Each opens files with O_NONBLOCK. Before
// that the streamer opens one with O_DIRECT, whatever the engine, to see whether
// it can.
func engines() (uringDirect, uring, libaio, plain engine) {
	const direct, buffered = `openat.*\.safetensors".*O_NONBLOCK\|O_DIRECT`, `openat.*\.safetensors".*O_NONBLOCK[^|]`
	return engine{"io_uring_direct", "io_uring", []string{direct, `io_uring_enter.*= [1-9]`}},
		engine{"io_uring_buffered", "io_uring", []string{buffered, `io_uring_enter.*= [1-9]`}},
		engine{"libaio_direct", "libaio", []string{direct, `io_submit.*= [1-9]`}},
		engine{"sync_buffered", "", []string{buffered, ` read\(.*\.safetensors>`}}
}

// settings are the streamer's variables, less what they begin with.
type settings map[string]any

// TestStreamer holds that Run:ai Model Streamer gets by each of its engines, with
// minimal, little and unlimited memory, from a mount what it gets from the
// originals; that gpuload gets the same from the mount; and that the engine read,
// rather than another in its place.
func TestStreamer(t *testing.T) {
	uringDirect, uring, libaio, plain := engines()
	minimal := settings{"CONCURRENCY": 1, "MEMORY_LIMIT": 0, "FS_QUEUE_DEPTH": 1}
	little := settings{"CONCURRENCY": 8, "MEMORY_LIMIT": 4 << 20, "FS_QUEUE_DEPTH": 3, "FS_MAX_ENGINES": 2,
		"DIRECT_BLOCK": 64 << 10, "FS_CHUNK_BYTESIZE": 1 << 20}
	unlimited := settings{"CONCURRENCY": 32, "MEMORY_LIMIT": -1}
	flipped := mount(t, theStage.flipped)
	files, err := filepath.Glob(filepath.Join(theStage.tree, "sharded", "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := theStage.Reference(t.Context(), files...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		engine
		memory string
		settings
	}{
		{uringDirect, "minimal", minimal}, {uringDirect, "unlimited", unlimited},
		{uring, "little", little},
		{libaio, "little", little},
		{plain, "minimal", minimal}, {plain, "unlimited", unlimited},
	} {
		w := witness{
			script: traced("openat,read,io_uring_enter,io_submit", `python "$SCRIPTS/witness.py" streamer sharded/*.safetensors`, c.traces...),
			env:    []string{"RUNAI_STREAMER_FS_STRATEGY=" + c.strategy},
		}
		for name, value := range c.settings {
			w.env = append(w.env, fmt.Sprintf("RUNAI_STREAMER_%s=%v", name, value))
		}
		t.Run(c.strategy+", "+c.memory, func(t *testing.T) {
			t.Parallel()
			if c.fio != "" {
				if r := run(t, theStage.tree, `fio --readonly --name=probe --filename=fio/data --size=4k --rw=read --ioengine=`+c.fio); r.Code != 0 {
					t.Logf("%s is not to be had here: %s", c.strategy, tail(r.Stderr))
					refuse(t, theStage.tree, w.script, "can be served on this host", "it read without", w.env...)
					return
				}
			}
			if err := rig.Compare(parse(t, w.check(t, flipped)), want); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("gpuload", func(t *testing.T) {
		t.Parallel()
		load := fmt.Sprintf(`for file in sharded/*.safetensors; do
			%q load --device cpu --manifest "$TMP/manifest" "$file" >&2
			cat "$TMP/manifest"
		done`, theStage.Gpuload)
		if err := rig.Compare(parse(t, witness{script: load}.check(t, flipped)), want); err != nil {
			t.Error(err)
		}
	})
}

// parse reads a manifest.
func parse(t *testing.T, manifest string) map[string]rig.Tensor {
	t.Helper()
	tensors, err := rig.ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return tensors
}
