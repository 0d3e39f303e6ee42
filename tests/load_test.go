package tests

import (
	"encoding/json"
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
				checkLoad(t, m, source(t))
			})
		}
	}
}

// checkLoad loads a checkpoint from source and compares it with its reference.
func checkLoad(t *testing.T, m model, source string, args ...string) {
	t.Helper()
	manifest := filepath.Join(t.TempDir(), "manifest")
	args = append([]string{"load", "--device", "cpu", "--json", "--manifest", manifest, source}, args...)
	out := output(t, theStage.Gpuload, args...)
	want := m.tensors(t)
	if err := rig.CompareManifest(manifest, want); err != nil {
		t.Error(err)
	}
	checkReport(t, out, want)
}

// checkReport holds the report of --json against what was loaded.
func checkReport(t *testing.T, out string, want map[string]rig.Tensor) {
	t.Helper()
	var report struct {
		Source, Device string
		Files, Tensors int
		Bytes          int64
		Seconds        float64
		Concurrency    int
		PartBytes      int64           `json:"part_bytes"`
		BytesPerSecond float64         `json:"bytes_per_second"`
		StagingPeak    int64           `json:"staging_peak_bytes"`
		Phases         json.RawMessage `json:"phases"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("report %q: %v", out, err)
	}
	var bytes int64
	files := map[string]bool{}
	for _, tensor := range want {
		bytes += tensor.Nbytes
		files[tensor.File] = true
	}
	if report.Device != "cpu" || report.Tensors != len(want) || report.Files != len(files) || report.Bytes != bytes {
		t.Errorf("report is of %d tensors, %d files and %d bytes on %q; should be %d, %d, %d on cpu",
			report.Tensors, report.Files, report.Bytes, report.Device, len(want), len(files), bytes)
	}
	if report.Seconds <= 0 || report.BytesPerSecond <= 0 || report.Concurrency <= 0 || report.PartBytes <= 0 ||
		report.StagingPeak <= 0 || len(report.Phases) == 0 || report.Source == "" {
		t.Errorf("report has empty fields: %s", out)
	}
}

// TestLoadOptions loads with every option that changes how bytes flow.
func TestLoadOptions(t *testing.T) {
	t.Parallel()
	m := theStage.model(t, "mixed")
	for name, args := range map[string][]string{
		"least-memory": {"--memory-limit", "0"},
		"no-limit":     {"--memory-limit", "-1"},
		"one-reader":   {"--concurrency", "1"},
		"small-parts":  {"--part-size", "64KiB", "--concurrency", "32"},
		"verify":       {"--verify"},
		"json-config":  {"--model-loader-extra-config", `{"concurrency": 2, "memory_limit": 20000000}`},
	} {
		t.Run(name, func(t *testing.T) { checkLoad(t, m, m.dir, args...) })
		t.Run(name+"-s3", func(t *testing.T) { checkLoad(t, m, "s3://"+bucket+"/"+m.name, args...) })
	}
}
