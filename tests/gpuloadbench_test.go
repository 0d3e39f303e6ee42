package tests

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBenchMeasuresEveryStage runs the acceptance test on a folder, a bucket and
// mounts: each stage by itself, and what could not be done is said.
func TestBenchMeasuresEveryStage(t *testing.T) {
	t.Parallel()
	m := theStage.model(t, "mixed")
	var size int64
	for _, x := range m.tensors(t) {
		size += x.Nbytes
	}
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
		t.Run(c.name, func(t *testing.T) { checkBench(t, c.source, size, c.stages, c.notes) })
	}
}

// benchReport is what bench --json prints.
type benchReport struct {
	Runs []struct {
		Concurrency int
		Bytes       int64
		Seconds     float64
		Rate        float64 `json:"bytes_per_second"`
	}
	Stages []struct {
		Name  string
		Rate  float64 `json:"bytes_per_second"`
		Aside bool
	}
	Notes      []string
	Bottleneck string
}

// limit is the stage that is the slowest by the report's own figures, of those
// that every byte goes through. A mount that comes no faster than its store had
// most bytes from there.
func (r *benchReport) limit() string {
	rates, limit := map[string]float64{"": math.Inf(1)}, ""
	for _, s := range r.Stages {
		if rates[s.Name] = s.Rate; !s.Aside && s.Rate < rates[limit] {
			limit = s.Name
		}
	}
	if ratio := rates["store"] / rates["mount"]; limit == "mount" && ratio >= 0.8 && ratio <= 1/0.8 {
		return "store"
	}
	return limit
}

// checkBench measures source, and compares the stages and parts of the notes.
func checkBench(t *testing.T, source string, size int64, stages, notes []string) {
	t.Helper()
	plot := filepath.Join(t.TempDir(), "plot.svg")
	out := output(t, theStage.Gpuload, "bench", "--device", "cpu", "--sweep", "1,4", "--json", "--plot", plot, source)
	var r benchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	var swept []int
	for _, run := range r.Runs {
		swept = append(swept, run.Concurrency)
		if run.Bytes != size || run.Seconds <= 0 || math.Abs(run.Rate*run.Seconds/float64(size)-1) > 1e-3 {
			t.Errorf("a run of %d bytes is %+v", size, run)
		}
	}
	var named []string
	for _, s := range r.Stages {
		named = append(named, s.Name)
		if aside := s.Name == "store" && slices.Contains(stages, "mount"); s.Rate <= 0 || s.Aside != aside {
			t.Errorf("a stage is %+v", s)
		}
	}
	if !slices.Equal(swept, []int{1, 4}) || !slices.Equal(named, stages) {
		t.Errorf("concurrencies %v, stages %q", swept, named)
	}
	if limit := r.limit(); !strings.HasPrefix(r.Bottleneck, "the "+limit+": ") && !strings.Contains(r.Bottleneck, ": the slowest stage, the "+limit+", ") {
		t.Errorf("the bottleneck is %q: by its figures it is the %s: %s", r.Bottleneck, limit, out)
	}
	if !slices.EqualFunc(r.Notes, notes, strings.Contains) {
		t.Errorf("notes %q, want %q", r.Notes, notes)
	}
	drawing, err := os.ReadFile(plot)
	if err != nil || !strings.Contains(string(drawing), "by itself: ") {
		t.Errorf("plot %s, %v", drawing, err)
	}
}
