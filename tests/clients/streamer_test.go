package clients

import (
	"fmt"
	"path/filepath"
	"testing"

	"weightfs/tests/rig"
)

// TestStreamerAgreesWithGpuload holds that Run:ai Model Streamer and gpuload get
// the same tensors through a mount, whatever the streamer's concurrency and
// memory limit: minimal, a few tensors, unlimited.
func TestStreamerAgreesWithGpuload(t *testing.T) {
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) {
			want := gpuloadManifest(t, filepath.Join(mount(t, source), "sharded"))
			for _, concurrency := range []int{1, 8, 32} {
				for _, limit := range []int{0, 4 << 20, -1} {
					t.Run(fmt.Sprintf("concurrency %d, limit %d", concurrency, limit), func(t *testing.T) {
						t.Parallel()
						checkStreamer(t, mount(t, source), concurrency, limit, want)
					})
				}
			}
			t.Run("lie", func(t *testing.T) {
				got := streamed(t, mount(t, theStage.flipped), 8, -1)
				if rig.Compare(got, want) == nil {
					t.Error("did not notice")
				}
			})
		})
	}
}

// gpuloadManifest is what gpuload says of the checkpoint in dir.
func gpuloadManifest(t *testing.T, dir string) map[string]rig.Tensor {
	t.Helper()
	text := output(t, theStage.scratch, fmt.Sprintf(
		`%q load --device cpu --manifest "$TMP/manifest" %q >&2 && cat "$TMP/manifest"`, theStage.Gpuload, dir))
	return parse(t, text)
}

// checkStreamer compares what the streamer reads below dir.
func checkStreamer(t *testing.T, dir string, concurrency, limit int, want map[string]rig.Tensor) {
	t.Helper()
	if err := rig.Compare(streamed(t, dir, concurrency, limit), want); err != nil {
		t.Error(err)
	}
}

// streamed is what the streamer says of the checkpoint below dir.
func streamed(t *testing.T, dir string, concurrency, limit int) map[string]rig.Tensor {
	t.Helper()
	return parse(t, output(t, dir, `python "$SCRIPTS/streamer.py" sharded/*.safetensors`,
		fmt.Sprintf("RUNAI_STREAMER_CONCURRENCY=%d", concurrency),
		fmt.Sprintf("RUNAI_STREAMER_MEMORY_LIMIT=%d", limit)))
}

func parse(t *testing.T, manifest string) map[string]rig.Tensor {
	t.Helper()
	tensors, err := rig.ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return tensors
}
