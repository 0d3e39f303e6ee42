package lab

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		samples     []float64
		share, want float64
	}{
		{[]float64{5, 1, 3}, 0.5, 3},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{7}, 0.5, 7},
		{[]float64{4, 1, 3, 2}, 1, 4},
		{[]float64{4, 1, 3, 2}, 0, 1},
		{[]float64{10, 20}, 0.99, 19.9},
	} {
		if got := Quantile(c.samples, c.share); math.Abs(got-c.want) > 1e-9 || c.share == 0.5 && Median(c.samples) != got {
			t.Errorf("%v of %v is %v, want %v", c.share, c.samples, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

// The machine is half as fast from the third sample of the load on: the medians
// are of the time before and after.
func TestRatioIsTheMedianOfThePairs(t *testing.T) {
	f := Figure{Pairs: []Pair{{4, 4}, {4, 4}, {4, 2}, {2, 2}, {2, 2}}}
	if f.Ratio() != 1 {
		t.Errorf("ratio %v of a load that is as fast as its baseline", f.Ratio())
	}
	f = Figure{Pairs: []Pair{{2, 1}, {2, 1.5}, {4, 9}}}
	if f.Ratio() != 0.75 {
		t.Errorf("ratio %v", f.Ratio())
	}
	if low, high := f.Spread(); low != 0.5 || high != 2.25 {
		t.Errorf("spread %v to %v", low, high)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		target Target
		ratio  float64
		met    bool
		text   string
	}{
		{AtLeast(0.5), 0.5, true, "≥ 0.5"},
		{AtLeast(0.5), 0.49, false, "≥ 0.5"},
		{AtMost(1.1), 1.1, true, "≤ 1.1"},
		{AtMost(1.1), 1.11, false, "≤ 1.1"},
		{AtMost(0), 0, true, "≤ 0"},
		{AtMost(1), math.NaN(), false, "≤ 1"},
		{AtLeast(1), math.NaN(), false, "≥ 1"},
		{Target{}, math.NaN(), true, ""},
	} {
		if c.target.Met(c.ratio) != c.met || c.target.String() != c.text {
			t.Errorf("%v of %v: met %v, shown as %q", c.ratio, c.target, c.target.Met(c.ratio), c.target.String())
		}
	}
}

func TestTrafficIsTheMedianOfEachNumber(t *testing.T) {
	f := Figure{Traffic: []Traffic{{GETs: 1, Bytes: 30}, {GETs: 9, Bytes: 10}, {GETs: 2, Bytes: 20}}}
	if got := f.Usual(); got != (Traffic{GETs: 2, Bytes: 20}) {
		t.Errorf("%+v", got)
	}
	a, b := Traffic{1, 2, 3, 4, 5}, Traffic{5, 4, 3, 2, 1}
	if a.Plus(b) != (Traffic{6, 6, 6, 6, 6}) || a.Plus(b).Less(b) != a {
		t.Error("sum and difference do not agree")
	}
}

func TestTable(t *testing.T) {
	figures := []Figure{
		{Row: "a | b", State: "cold", Spec: Spec{Name: "speed", Unit: Rate, Baseline: "R", Target: AtLeast(0.6)}, Pairs: []Pair{{2e9, 1e9}}, Traffic: []Traffic{{GETs: 3, Bytes: 5e6}}},
		{Row: "c", Spec: Spec{Unit: Time}, Pairs: []Pair{{0.03, 0.045}}},
	}
	table := Figures(figures)
	for _, want := range []string{
		`| a \| b: speed | cold | R | 2.00 GB/s | 1.00 GB/s | **0.5** | ≥ 0.6 **missed** | 0.5–0.5, 1 | 3 | 0 | 5.0 MB | 0 |`,
		`| c |  |  | 30.0 ms | 45.0 ms | 1.5 |  | 1.5–1.5, 1 | – | – | – | – |`,
	} {
		if !strings.Contains(table, want+"\n") {
			t.Errorf("%s\nlacks\n%s", table, want)
		}
	}
}

func TestPlotsAreXML(t *testing.T) {
	figures := []Figure{{Row: "a < b", Spec: Spec{Target: AtLeast(0.5)}, Pairs: []Pair{{1, 2}}}, {Row: "none", Spec: Spec{Target: AtLeast(1)}}}
	for name, text := range map[string]string{
		"bars":  Bars("a & b", figures),
		"empty": Chart{Title: "nothing"}.SVG(),
		"power": Chart{LogX: true, LogY: true, Series: []Series{{"wide", []float64{1, 1000}, []float64{0.2, 3000}}}}.SVG(),
		"none":  Chart{LogY: true, Series: []Series{{Name: "not measured"}}}.SVG(),
		"lines": Chart{LogX: true, Series: []Series{{"a<b", []float64{1, 2, 64}, []float64{1, 2, 3}}, {"level", []float64{0}, []float64{2}}}}.SVG(),
	} {
		for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, text)
			}
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%s has no place for\n%s", name, text)
		}
	}
}

func TestPublish(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const text = "# Page\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n"
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	plots := map[string]string{"ratios.svg": "<svg/>"}
	if err := Publish(page, "x", "new\n"+Pictures(page, plots), plots); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if want := strings.Replace(text, "old\n", "new\n\n![ratios](page/ratios.svg)\n", 1); err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	if svg, err := os.ReadFile(filepath.Join(filepath.Dir(page), "page", "ratios.svg")); err != nil || string(svg) != "<svg/>" {
		t.Errorf("%q, %v", svg, err)
	}
	if err := Publish(page, "y", "new", nil); err == nil {
		t.Error("a document without marks was accepted")
	}
}

// No side is always the first one, and what was taken before an error is kept.
func TestInTurns(t *testing.T) {
	var order string
	broken := errors.New("broken")
	side := func(name string, fails int) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			if order += name; strings.Count(order, name) == fails {
				return "", broken
			}
			return name, nil
		}
	}
	rounds, err := InTurns(t.Context(), 4, side("a", 0), side("b", 3))
	if !errors.Is(err, broken) || order != "abbaab" || len(rounds) != 2 || rounds[1][0] != "a" || rounds[1][1] != "b" {
		t.Errorf("%v, %v by %s", rounds, err, order)
	}
}

func TestExecTimesTheWholeProgram(t *testing.T) {
	r, err := Exec(exec.Command("sh", "-c", "sleep 0.05; echo done"))
	if err != nil || r.Seconds < 0.05 || string(r.Output) != "done\n" || r.Memory < 1<<18 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Exec(exec.Command("sh", "-c", "echo why >&2; exit 3")); err == nil || !strings.Contains(err.Error(), "why") {
		t.Error(err)
	}
}

func TestInside(t *testing.T) {
	load, err := ExecLoad(exec.Command("echo", `{"seconds": 1, "phases": {"start": 0.01, "context": 0.15, "listing": 0.02, "header": 0.2, "first_byte": 0.3, "read": 0.9, "tail": 0.1}}`))
	load.Whole = 1.2
	got := strings.Join(Inside([]Load{load}), " ")
	if want := "1200 10 150 20 200 300 900 100 200"; err != nil || got != want || len(PhaseHead()) != 9 {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestHeatFillAndEvict(t *testing.T) {
	f, err := os.CreateTemp("/var/tmp", "heat-") // /tmp may be a tmpfs, whose pages are the files
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const pages = 5
	_, err = f.Write(make([]byte, pages*os.Getpagesize()-1))
	if err := errors.Join(err, Evict(f.Name())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{pages, 0} {
		n, err := Fill(t.Context(), f.Name())
		missing, err2 := rig.MissingPages(f)
		if err := errors.Join(err, err2); err != nil || n != want || len(missing) > 0 {
			t.Errorf("read %d pages, want %d; missing %v, %v", n, want, missing, err)
		}
	}
	if err := errors.Join(Evict(f.Name()), Heat(t.Context(), 2, f.Name())); err != nil {
		t.Error(err)
	}
	if n, err := Fill(t.Context(), f.Name()); n != 0 || err != nil {
		t.Errorf("%d pages lack after heating, %v", n, err)
	}
}

// The best setting is that of the highest median, and what is far from it is not
// tried again.
func TestSweepFindsTheBest(t *testing.T) {
	rates := [][]float64{{9, 5, 5}, {6, 7, 7}, {1}} // the first one by chance
	s := &Sweep{Name: "R", Settings: []string{"a", "b", "c"}}
	err := s.Take(t.Context(), 3, func(_ context.Context, i int) (float64, error) { return rates[i][len(s.Samples[i])], nil })
	if best, rate := s.Best(); err != nil || best != 1 || rate != 7 || len(s.Samples[2]) != 1 {
		t.Errorf("best %d at %v, %v of %v", best, rate, err, s.Samples)
	}
	other := &Sweep{Name: "N", Settings: []string{"d"}, Samples: [][]float64{{2}}}
	want := "\n| swept | a | b | c |\n| --- | --: | --: | --: |\n| R | 5 | **7** | 1 |\n\n| swept | d |\n| --- | --: |\n| N | **2** |\n"
	if got := Sweeps([]*Sweep{s, other}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	err = s.Take(t.Context(), 1, func(context.Context, int) (float64, error) { return 0, os.ErrClosed })
	if !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "R, a") {
		t.Error(err)
	}
	if all, names := Requests(); len(all) != 12 || names[11] != "32 x 32 MiB" || all[11].Part != 32<<20 {
		t.Errorf("%v", names)
	}
}

func TestLogarithmicChart(t *testing.T) {
	c := Chart{LogY: true, Series: []Series{{"x", []float64{1, 2}, []float64{0.2, 3000}}}}
	rise, grid := c.yAxis(3150)
	if !slices.Equal(grid, []float64{0.1, 1, 10, 100, 1000, 10000}) || math.Abs(rise(10)-0.4) > 1e-9 {
		t.Errorf("%v, 10 at %v", grid, rise(10))
	}
}

func TestUsage(t *testing.T) {
	before, err := parseUsage("cpu  10 0 10 50 10 0 0 20 99 0\ncpu0 1 2 3\n")
	after, err2 := parseUsage("cpu  40 5 15 60 20 0 0 30 99 0\n")
	if err != nil || err2 != nil || after.IdleSince(before) != 20.0/70 || after.IdleSince(after) != 0 {
		t.Errorf("%v, %v: %v", err, err2, after.IdleSince(before))
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu a 2 3 4 5 6 7 8"} {
		if _, err := parseUsage(text); err == nil {
			t.Errorf("%q is a usage", text)
		}
	}
}
