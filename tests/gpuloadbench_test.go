package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBenchMeasuresEveryStage runs the acceptance test on a folder, a bucket and
// mounts: each stage by itself, and what could not be done is said.
func TestBenchMeasuresEveryStage(t *testing.T) {
	m := theStage.model(t, "mixed")
	uri := "s3://" + bucket + "/" + m.name
	for _, c := range []struct {
		name, source string
		stages       []string
		notes        []string // parts
	}{
		{"folder", m.dir, []string{"store", "staging copy", "bus"}, []string{"swept: how many parts gpuload reads"}},
		{"bucket", uri, []string{"store", "staging copy", "bus"}, []string{"swept: how many parts gpuload reads"}},
		{"mounted bucket", filepath.Join(mount(t, "s3://"+bucket).Dir, m.name), []string{"mount", "store", "staging copy", "bus"},
			[]string{"the mount's own GETs", "not cold: the mount may hold"}},
		{"mounted folder", mount(t, m.dir).Dir, []string{"mount", "store", "staging copy", "bus"},
			[]string{"the mount's own GETs", "not cold: "}},
	} {
		t.Run(c.name, func(t *testing.T) { checkBench(t, c.source, c.stages, c.notes) })
	}
}

// checkBench measures source, and compares the stages and parts of the notes.
func checkBench(t *testing.T, source string, stages, notes []string) {
	t.Helper()
	plot := filepath.Join(t.TempDir(), "plot.svg")
	out := output(t, theStage.Gpuload, "bench", "--device", "cpu", "--sweep", "1,4", "--json", "--plot", plot, source)
	var result struct {
		Runs       []struct{ Concurrency int }
		Stages     []struct{ Name string }
		Notes      []string
		Bottleneck string
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	var got []string
	for _, s := range result.Stages {
		got = append(got, s.Name)
	}
	if len(result.Runs) != 2 || !slices.Equal(got, stages) || result.Bottleneck == "" {
		t.Errorf("%s", out)
	}
	if !slices.EqualFunc(result.Notes, notes, strings.Contains) {
		t.Errorf("notes %q, want %q", result.Notes, notes)
	}
	drawing, err := os.ReadFile(plot)
	if err != nil || !strings.Contains(string(drawing), "by itself: ") {
		t.Errorf("plot %s, %v", drawing, err)
	}
}
