package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMedianAndRatio(t *testing.T) {
	if m := median([]float64{5, 1, 3}); m != 3 {
		t.Errorf("odd: %v", m)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("even: %v", m)
	}
	r := result{Client: []float64{2, 2, 2}, Mount: []float64{1, 1.5, 9}}
	if r.ratio() != 0.75 {
		t.Errorf("ratio %v", r.ratio())
	}
}

func TestParseDD(t *testing.T) {
	const out = "1024+0 records in\n1024+0 records out\n1073741824 bytes (1.1 GB, 1.0 GiB) copied, 0.5 s, 2.1 GB/s\n"
	if r, err := parseDD(out); err != nil || r != (readReport{1 << 30, 0.5}) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "dd: failed", "x bytes copied, 1 s, 1 GB/s"} {
		if _, err := parseDD(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestOutputs(t *testing.T) {
	results := []result{{"a < b", []float64{2e9}, []float64{1e9}}, {"c", []float64{1e9}, []float64{9e9}}}
	if table := markdown(options{runs: 1, size: 1 << 30}, results); !strings.Contains(table, "| a < b | 2.00 | 1.00 | 0.50 | 1.00 to 1.00 |") {
		t.Error(table)
	}
	for decoder := xml.NewDecoder(strings.NewReader(plot(results))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}

func TestRowsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if seen[r.name] || r.connections == 0 || r.reader.Threads == 0 || r.reader.Block == 0 {
			t.Errorf("row %+v", r)
		}
		seen[r.name] = true
	}
}
