package tests

import (
	"path/filepath"
	"testing"

	"weightfs/tests/rig"
)

// TestEveryTensorArrives loads every checkpoint by every way there is and
// compares the bytes on the device with what Python reads from the originals.
func TestEveryTensorArrives(t *testing.T) {
	t.Parallel()
	for _, m := range theStage.models {
		ways := map[string]func(t *testing.T) string{
			"local":          func(*testing.T) string { return m.dir },
			"s3":             func(*testing.T) string { return "s3://" + bucket + "/" + m.name },
			"mounted-s3":     func(t *testing.T) string { return filepath.Join(mount(t, "s3://"+bucket).Dir, m.name) },
			"mounted-dir":    func(t *testing.T) string { return mount(t, m.dir).Dir },
			"mounted-prefix": func(t *testing.T) string { return mount(t, "s3://"+bucket+"/"+m.name).Dir },
		}
		for way, source := range ways {
			t.Run(m.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				manifest := filepath.Join(t.TempDir(), "manifest")
				output(t, theStage.Gpuload, "load", "--device", "cpu", "--manifest", manifest, source(t))
				if err := rig.CompareManifest(manifest, m.tensors(t)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestEveryCheckpointOnTheCPU has gputest, which is for machines with a GPU, check
// what is hard to load right, by every way and under every memory limit.
func TestEveryCheckpointOnTheCPU(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(theStage.Mountd)
	output(t, "go", "-C", "..", "build", "-o", dir, "./tests/gpu/gputest")
	output(t, "cp", "../.tools/versitygw", dir)
	out, err := rig.Output(t.Context(), nil, filepath.Join(dir, "gputest"), "--bin", dir, "--work", t.TempDir(), "--device", "cpu",
		"--python", theStage.Python, "--figures=false", "--allow-unjudged")
	if err != nil {
		t.Fatal(err, out)
	}
}

// sums returns what sha256sum says of every file below dir, by relative path.
func sums(t *testing.T, dir string) string {
	t.Helper()
	return output(t, "sh", "-c", `cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum`, dir)
}
