package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"weightfs/cmd/cli"
	"weightfs/tests/bench/figure"
)

// The names of what is written.
const (
	tableFile   = "table.md"
	samplesFile = "results.json"
	ratiosFile  = "ratios.svg"
	sweepFile   = "concurrency.svg"
	memoryFile  = "memory.svg"
)

// write puts the table, the samples and the plots into the folder for results,
// and into the document where one is named and no row is missing.
func (r results) write(o options) error {
	samples, err := json.MarshalIndent(r.figures, "", "  ")
	if err != nil {
		return err
	}
	written := r.plots()
	written[samplesFile] = string(samples)
	written[tableFile] = r.table(o)
	fmt.Print("\n", written[tableFile])
	if err := writeAll(o.out, written); err != nil || o.docs == "" || r.ended != nil {
		return err
	}
	return publish(o.docs, written)
}

// writeAll writes texts into a folder, by their names.
func writeAll(dir string, texts map[string]string) error {
	err := os.MkdirAll(dir, 0o755)
	for name, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return err
}

// The marks in a document between which the table stands.
const (
	tableBegin = "<!-- bench: begin -->\n"
	tableEnd   = "<!-- bench: end -->\n"
)

// publish puts the table into a document, and the plots beside it and under the
// table.
func publish(docs string, written map[string]string) error {
	text, err := os.ReadFile(docs)
	if err != nil {
		return err
	}
	dir := strings.TrimSuffix(docs, filepath.Ext(docs))
	result := written[tableFile]
	plots := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if title, isPlot := strings.CutSuffix(name, ".svg"); isPlot {
			plots[name] = written[name]
			result += fmt.Sprintf("\n![%s](%s/%s)\n", title, filepath.Base(dir), name)
		}
	}
	replaced, err := replaceTable(string(text), result)
	if err != nil {
		return fmt.Errorf("%s: %w", docs, err)
	}
	return errors.Join(os.WriteFile(docs, []byte(replaced), 0o644), writeAll(dir, plots))
}

// replaceTable puts table between the marks of text.
func replaceTable(text, table string) (string, error) {
	head, rest, ok := strings.Cut(text, tableBegin)
	_, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", errors.New("no marks to put the table between")
	}
	return head + tableBegin + table + tableEnd + tail, nil
}

// table returns the figures with what one must know to read them.
func (r results) table(o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores of %s, kernel %s, %s. Object of %s, medians of %d where a row does not say otherwise. S3-like: %v to the first byte, %d MB/s a connection, %d MB/s in all. It took %v.\n\n",
		r.began.UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), firstLine("/proc/sys/kernel/osrelease"), runtime.Version(),
		cli.FormatSize(int64(o.size)), o.runs, o.far.FirstByte, o.far.PerConnection/1e6, o.far.Total/1e6,
		time.Since(r.began).Round(time.Second))
	b.WriteString(figure.Table(r.figures))
	if err := errors.Join(r.ended, r.verdict()); err != nil {
		fmt.Fprintf(&b, "\n%s\n", strings.ReplaceAll(err.Error(), "\n", "\n- "))
	}
	return b.String()
}

// firstLine is of a small file of the kernel's.
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// processor is the model of the first core.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// plots are the drawings of those rows that were measured.
func (r results) plots() map[string]string {
	plots := map[string]string{}
	if len(r.figures) > 0 {
		plots[ratiosFile] = figure.Bars("Each figure as a ratio with its baseline; the tick is its target", r.figures)
	}
	if chart, ok := r.sweepChart(); ok {
		plots[sweepFile] = chart.SVG()
	}
	if len(r.memory) > 0 {
		plots[memoryFile] = figure.Chart{
			Title: "Resident memory of mountd, 64 readers on 8 files", XLabel: "seconds", YLabel: "MiB", Series: r.memory,
		}.SVG()
	}
	return plots
}

// sweepChart draws the rate by the number of concurrent GETs.
func (r results) sweepChart() (figure.Chart, bool) {
	fixed := figure.Series{Name: "fixed"}
	adaptive := figure.Series{Name: "adaptive, the default"}
	for _, f := range r.figures {
		if f.Row != sweepName || len(f.Pairs) == 0 {
			continue
		}
		if n, err := strconv.Atoi(f.Name); err == nil {
			fixed.X, fixed.Y = append(fixed.X, float64(n)), append(fixed.Y, f.Load()/1e6)
		}
		if f.Name == sweepAdaptive {
			adaptive.Y = []float64{f.Load() / 1e6}
		}
	}
	return figure.Chart{
		Title: "One buffered reader before an S3-like store", XLabel: "concurrent GETs", YLabel: "MB/s",
		LogX: true, Series: []figure.Series{fixed, adaptive},
	}, len(fixed.Y) > 0
}
