package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/lab"
	"weightfs/tests/scale/model"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"--nodes=3,5", "--store-rate", "1M", "--size=64Mi", "--rows", "every"})
	if err != nil || !slices.Equal(o.nodes, []int{3, 5}) || o.storeRate != 1e6 || o.nodeRate <= o.storeRate || o.Size != 64<<20 || !o.Rows.MatchString(string(onEachOne)) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, wrong := range []string{"--nodes=0", "--nodes=1000", "--node-rate=1", "--runs=0"} {
		if _, err := parse([]string{wrong}); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

// measuredResults are of links of 10 and 20 MB/s, of which 80 % arrive, and a start of
// half a second.
func measuredResults(t *testing.T, placed ...placement) *results {
	t.Helper()
	all := &results{Size: 16 * model.Block, StoreRate: 10e6, NodeRate: 20e6}
	truth := model.Calibration{Start: 0.5, Store: 0.8, Link: 0.8}
	for _, p := range placed {
		for _, n := range []int{1, 4} {
			s := sample{Cache: string(p), Nodes: n, Bytes: all.Size, Requests: 16, Idle: 0.25}
			if p == nowhere {
				s.Bytes *= int64(n)
			}
			s.Seconds = []float64{0}
			f := all.measured(s).Fleet
			s.Seconds = []float64{1, truth.Apply(f).Usual()}
			all.Samples = append(all.Samples, s)
		}
	}
	return all
}

// What is measured calibrates the model, which then says the same of every sample.
func TestCalibrate(t *testing.T) {
	all := measuredResults(t, nowhere, onThree, onEachOne)
	passed := all.Samples[len(all.Samples)-1]
	passed.Past, passed.Seconds = 1<<20, []float64{1000}
	measured := all.Samples
	all.Samples = append(measured, passed)
	if err := all.calibrate(); err != nil {
		t.Fatal(err)
	}
	all.Samples = measured
	for _, s := range all.Samples {
		if ratio := all.simulated(s) / s.last(); math.Abs(ratio-1) > 0.05 {
			t.Errorf("%s, %d nodes: simulated %v of %v", s.Cache, s.Nodes, all.simulated(s), s.last())
		}
	}
	if c := all.Calibration; math.Abs(c.Store-0.8) > 0.03 || math.Abs(c.Link-0.8) > 0.05 {
		t.Errorf("%+v", c)
	}
}

// The tables say what was measured, and go into the page, with the plots beside it.
func TestWrite(t *testing.T) {
	all := measuredResults(t, onEachOne) // not enough to simulate
	o := options{Settings: lab.Settings{Docs: t.TempDir(), Out: filepath.Join(t.TempDir(), "out")}}
	name := filepath.Join(o.Docs, page)
	if err := os.WriteFile(name, []byte("<!-- fleet: begin -->\nold\n<!-- fleet: end -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := all.write(o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| on every node | 4 | ", " | 1.0 | – | 1.000 | 0.000 | 16 | 25 % |", "10 MB/s and each other link 20 MB/s"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nlacks %q", text, want)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Docs, "fleet-scale", "seconds.svg")); err != nil {
		t.Error(err)
	}
	again, err := readResults(filepath.Join(o.Out, "results.json"))
	if err != nil || again.text() != all.text() {
		t.Errorf("read again, %v: %+v", err, again)
	}
	for _, wrong := range []string{"{", `{"samples": []}`} {
		if err := os.WriteFile(name, []byte(wrong), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readResults(name); err == nil {
			t.Errorf("%s are results", wrong)
		}
	}
}

// A large fleet is a line of its table, each variant a column.
func TestLargeTable(t *testing.T) {
	all := &results{}
	for _, v := range variants() {
		for i, n := range largeNodes() {
			all.Large = append(all.Large, large{v.name, n, model.Outcome{Last: float64(i) + 0.5, Asked: largeSize * int64(n)}})
		}
	}
	lines := strings.Split(strings.TrimSpace(all.largeTable()), "\n")
	if want := "| 1000 |" + strings.Repeat(" 5.5 |", len(variants())) + " 1000 | 1000 |"; len(lines) != 2+len(largeNodes()) || lines[len(lines)-1] != want {
		t.Errorf("%q, want at last %q", lines, want)
	}
	if svg := all.plots()["simulated.svg"]; strings.Count(svg, "<polyline") != len(variants()) || strings.Contains(svg, "NaN") {
		t.Error(svg)
	}
}
