package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

func TestRowsAreTold(t *testing.T) {
	rowNames := map[string]bool{}
	for _, r := range rows(proxy.S3Like()) {
		if rowNames[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		rowNames[r.name] = true
		if r.load == nil || len(r.compare) == 0 {
			t.Errorf("%s compares nothing", r.name)
		}
		titles := map[string]bool{}
		for _, c := range r.compare {
			if titles[c.Name] {
				t.Errorf("%s has two figures called %q", r.name, c.Name)
			}
			titles[c.Name] = true
		}
	}
}

// TestPairs holds what the comparisons make of outcomes.
func TestPairs(t *testing.T) {
	report := func(seconds int, bytes int64) workload.Report {
		return workload.Report{End: time.Duration(seconds) * time.Second, Result: workload.Result{Bytes: bytes, Latencies: []time.Duration{3e9, 1e9, 2e9}}}
	}
	far := proxy.Shape{FirstByte: 30 * time.Millisecond, Total: 500}
	base := outcome{report: report(1, 100)}
	load := outcome{report: report(2, 100), traffic: lab.Traffic{Bytes: 150, READs: 7}, size: 50, values: map[string]float64{"a": 6, "b": 3}}
	for name, c := range map[string]struct {
		comparison
		want lab.Pair
	}{
		"rates":    {rates("R", lab.Target{}), lab.Pair{Base: 100, Load: 50}},
		"limit":    {profile{shape: far}.ofLimit(lab.Target{}), lab.Pair{Base: 500, Load: 50}},
		"seconds":  {ofBase("", lab.Time, "", lab.Target{}, seconds), lab.Pair{Base: 1, Load: 2}},
		"trips":    {profile{shape: far}.trips("", lab.Target{}, seconds), lab.Pair{Base: 0.03, Load: 2}},
		"latency":  {profile{shape: far}.trips("", lab.Target{}, latency(0.5)), lab.Pair{Base: 0.03, Load: 2}},
		"slowest":  {profile{shape: far}.trips("", lab.Target{}, latency(1)), lab.Pair{Base: 0.03, Load: 3}},
		"asked":    {fetchedOf("", asked, 1), lab.Pair{Base: 100, Load: 150}},
		"size":     {fetchedOf("", size, 1), lab.Pair{Base: 50, Load: 150}},
		"READs":    {zero("READs", reads), lab.Pair{Base: 1, Load: 7}},
		"value of": {value("a", "b", lab.Count, lab.Target{}), lab.Pair{Base: 3, Load: 6}},
	} {
		if got := c.pair(base, load); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestTrafficOfFigures holds that each figure shows the traffic of its own load,
// or that nobody counted it.
func TestTrafficOfFigures(t *testing.T) {
	all := lab.Traffic{GETs: 9}
	for name, c := range map[string]struct {
		load    outcome
		want    lab.Traffic
		counted bool
	}{
		"all":       {outcome{traffic: all}, all, true},
		"a part":    {outcome{parts: map[string]lab.Traffic{"16": {GETs: 2}}}, lab.Traffic{GETs: 2}, true},
		"uncounted": {outcome{uncounted: true}, lab.Traffic{}, false},
	} {
		if got, counted := c.load.trafficOf("16"); got != c.want || counted != c.counted {
			t.Errorf("%s: %+v, %v", name, got, counted)
		}
	}
}

func TestKeepSlowest(t *testing.T) {
	values := map[string]float64{}
	keepSlowest(values, "low", "middle", []float64{5, 10, 20})
	keepSlowest(values, "low", "middle", []float64{9, 10, 11})
	if values["low"] != 5 || values["middle"] != 10 {
		t.Errorf("%v", values)
	}
	keepSlowest(values, "low", "middle", []float64{1, 10, 11})
	if values["low"] != 1 {
		t.Errorf("%v", values)
	}
}

func TestVerdictNamesWhatWasMissed(t *testing.T) {
	good := lab.Figure{Row: "good", Spec: lab.Spec{Target: lab.AtMost(1)}, Pairs: []lab.Pair{{Base: 1, Load: 1}}}
	bad := lab.Figure{Row: "bad", Spec: lab.Spec{Target: lab.AtMost(1)}, Pairs: []lab.Pair{{Base: 1, Load: 2}}}
	if err := (results{figures: []lab.Figure{good}}).verdict(); err != nil {
		t.Error(err)
	}
	err := results{figures: []lab.Figure{good, bad}, failed: []error{os.ErrClosed}}.verdict()
	if err == nil || !strings.Contains(err.Error(), "missed: bad is 2, must be ≤ 1") ||
		!strings.Contains(err.Error(), "failed: file already closed") || strings.Contains(err.Error(), "good") {
		t.Errorf("%v", err)
	}
}

// A run that lacks rows does not take the place of a whole one, of which the page
// has the figures with a target, and its folder all.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	text := "<!-- bench: begin -->\nwhole\n<!-- bench: end -->\n"
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	o := options{Settings: lab.Settings{Out: t.TempDir(), Docs: page}}
	if err := (results{ended: errors.New("ended after 1 of 2 rows")}).write(o); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(o.Out, tableFile)); err != nil || !strings.Contains(string(got), "ended after 1 of 2 rows") {
		t.Errorf("%q, %v", got, err)
	}
	pair := []lab.Pair{{Base: 1, Load: 2}}
	whole := results{
		figures: []lab.Figure{{Row: "promise", Spec: lab.Spec{Target: lab.AtLeast(1)}, Pairs: pair}, {Row: "printed", State: "cold", Pairs: pair}},
		sweeps:  []*lab.Sweep{{Name: "R", Settings: []string{"a", "b"}, Samples: [][]float64{{1}, {2}}}},
	}
	if err := whole.write(o); err != nil {
		t.Fatal(err)
	}
	short, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(short), "| promise |  | 1 | 2 | 2 | ≥ 1 | 2–2, 1 |\n\n- best R: b, 2\n") || strings.Contains(string(short), "printed") {
		t.Errorf("%s, %v", short, err)
	}
	long, err := os.ReadFile(filepath.Join(dir, "page", tableFile))
	if err != nil || !strings.Contains(string(long), "| printed | cold |") || !strings.Contains(string(long), "| R | 1 | **2** |") {
		t.Errorf("%s, %v", long, err)
	}
}

func TestSweepChart(t *testing.T) {
	pair := []lab.Pair{{Base: 1, Load: 2e6}}
	name := distant.String() + concurrencySuffix
	chart, ok := results{figures: []lab.Figure{
		{Row: name, Spec: lab.Spec{Name: "16"}, Pairs: pair},
		{Row: name, Spec: lab.Spec{Name: adaptive}, Pairs: pair},
		{Row: "another", Spec: lab.Spec{Name: "32"}, Pairs: pair},
	}}.sweepChart()
	if !ok || len(chart.Series[0].X) != 1 || chart.Series[0].X[0] != 16 || chart.Series[1].Y[0] != 2 {
		t.Errorf("%v %+v", ok, chart)
	}
}
