package monitor

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// documented are the metrics of docs/metrics.md, with their kinds.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z]+) \\| (.+) \\|$")
	kinds := map[string]string{}
	for _, match := range row.FindAllStringSubmatch(string(page), -1) {
		name, kind := match[1], match[2]
		if kinds[name] != "" {
			t.Errorf("%s is described twice", name)
		}
		kinds[name] = kind
		for cell := range strings.SplitSeq(match[3], " | ") {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("%s: a cell says nothing", name)
			}
		}
	}
	return kinds
}

// TestMetricsAreDocumented holds that docs/metrics.md has each metric that a
// mount shows, and no other, of the right kind.
func TestMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, c := range mountFor(t).collectors() {
		registry.MustRegister(c)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, family := range families {
		kinds[family.GetName()] = strings.ToLower(family.GetType().String())
	}
	pages := documented(t)
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if pages[name] != kinds[name] {
			t.Errorf("%s is a %s, and the page has %q", name, kinds[name], pages[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if kinds[name] == "" {
			t.Errorf("%s is on the page, and does not exist", name)
		}
	}
}

// TestPagesNameMetricsThatExist holds the other pages to that list.
func TestPagesNameMetricsThatExist(t *testing.T) {
	known, found := documented(t), 0
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../../README.md", "../../../deploy/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bweightfs_[a-z0-9_]+`).FindAllString(string(text), -1) {
			if name == "weightfs_sharded" {
				continue // vLLM's load format
			}
			if found++; known[name] == "" {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
	if found <= len(known)/2 {
		t.Errorf("only %d names were found", found)
	}
}
