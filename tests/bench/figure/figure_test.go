package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{7}, 7},
	} {
		if got := Median(c.samples); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.samples, got, c.want)
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

func TestNothingMeasuredMeetsNothing(t *testing.T) {
	if (Figure{Spec: Spec{Target: AtLeast(0)}}).Met() {
		t.Error("met without a sample")
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
	table := Table(figures)
	for _, want := range []string{
		`| a \| b: speed | cold | R | 2.00 GB/s | 1.00 GB/s | **0.5** | ≥ 0.6 **missed** | 0.5 to 0.5 | 3 | 0 | 5.0 MB | 0 |`,
		`| c |  |  | 30.0 ms | 45.0 ms | 1.5 | printed | 1.5 to 1.5 | – | – | – | – |`,
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
