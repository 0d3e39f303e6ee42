package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
)

// The names of what is written.
const (
	tableFile   = "table.md"
	samplesFile = "results.json"
	ratiosFile  = "ratios.svg"
	sweepFile   = "concurrency.svg"
	memoryFile  = "memory.svg"
)

// write puts the table, the samples and the plots into the folder for results.
// Where a document is named and no row is missing, it gets the promises and the
// plots, and the folder of its name the table.
func (r results) write(o options) error {
	samples, err := json.MarshalIndent(map[string]any{"figures": r.figures, "sweeps": r.sweeps, "inside": r.inside}, "", "  ")
	if err != nil {
		return err
	}
	table, plots := r.table(o), r.plots()
	fmt.Print("\n", table)
	texts := map[string]string{samplesFile: string(samples), tableFile: table}
	maps.Copy(texts, plots)
	if err := lab.WriteAll(o.Out, texts); err != nil || o.Docs == "" || r.ended != nil {
		return err
	}
	page := r.page(o) + lab.Pictures(o.Docs, plots)
	plots[tableFile] = "# All rows\n\n" + table
	return lab.Publish(o.Docs, "bench", page, plots)
}

// head is what one must know to read the figures.
func (r results) head(o options) string {
	return fmt.Sprintf("%s. Object of %s. S3-like: %v to the first byte, %d MB/s a connection, %d MB/s in all. It took %v.\n\n",
		lab.Machine(r.began), cli.FormatSize(int64(o.Size)), o.far.FirstByte, o.far.PerConnection/1e6, o.far.Total/1e6,
		time.Since(r.began).Round(time.Second))
}

// page is what the document has: the promises, the best settings of the baselines,
// and what could not be measured.
func (r results) page(o options) string {
	text := r.head(o) + lab.Promises(r.figures) + "\n"
	for _, s := range r.sweeps {
		text += fmt.Sprintf("- %s\n", s)
	}
	for _, err := range r.failed {
		text += fmt.Sprintf("- failed: %v\n", err)
	}
	return text
}

// table has all figures, sweeps and phases.
func (r results) table(o options) string {
	text := r.head(o) + lab.Figures(r.figures)
	if len(r.sweeps) > 0 {
		text += "\nThe baselines that were swept:\n" + lab.Sweeps(r.sweeps)
	}
	if len(r.inside) > 0 {
		text += "\nInside gpuload, in milliseconds:\n\n" + lab.Table(append([]string{"row"}, lab.PhaseHead()...), r.inside)
	}
	if err := errors.Join(r.ended, r.verdict()); err != nil {
		text += fmt.Sprintf("\n%s\n", strings.ReplaceAll(err.Error(), "\n", "\n- "))
	}
	return text
}

// plots are the drawings of those rows that were measured.
func (r results) plots() map[string]string {
	plots := map[string]string{}
	if len(r.figures) > 0 {
		plots[ratiosFile] = lab.Bars("Each figure as a ratio with its baseline; the tick is its target", r.figures)
	}
	if chart, ok := r.sweepChart(); ok {
		plots[sweepFile] = chart.SVG()
	}
	if len(r.memory) > 0 {
		plots[memoryFile] = lab.Chart{
			Title: "Resident memory of mountd, 64 readers on 8 files", XLabel: "seconds", YLabel: "MiB", Series: r.memory,
		}.SVG()
	}
	return plots
}

// sweepChart draws the rate by the number of concurrent GETs.
func (r results) sweepChart() (lab.Chart, bool) {
	fixed := lab.Series{Name: "fixed"}
	levels := lab.Series{Name: "adaptive, the default"}
	for _, f := range r.figures {
		if f.Row != distant.String()+concurrencySuffix || len(f.Pairs) == 0 {
			continue
		}
		if n, err := strconv.Atoi(f.Name); err == nil {
			fixed.X, fixed.Y = append(fixed.X, float64(n)), append(fixed.Y, f.Load()/1e6)
		}
		if f.Name == adaptive {
			levels.Y = []float64{f.Load() / 1e6}
		}
	}
	return lab.Chart{
		Title: "One buffered reader before an S3-like store", XLabel: "concurrent GETs", YLabel: "MB/s",
		LogX: true, Series: []lab.Series{fixed, levels},
	}, len(fixed.Y) > 0
}
