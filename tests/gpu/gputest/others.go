package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"

	"weightfs/tests/lab"
)

// other is a loader of somebody else's, over the same local files.
type other struct {
	name, version string
	seconds       float64 // from exec to exit, the median of the runs
	rate          float64 // bytes per second of the load alone, the same
	absent        string  // why there is none
}

// others measures safetensors' load_file, which comes first, and what else there
// is from PyPI. What is not installed or does not run is a row that says so.
func (r *suite) others(ctx context.Context, files []string) []other {
	var all []other
	for _, name := range []string{"safetensors", "runai-model-streamer", "fastsafetensors", "instanttensor"} {
		all = append(all, r.other(ctx, name, files))
	}
	return all
}

// other takes one run more than are counted, the first, which warms up.
func (r *suite) other(ctx context.Context, name string, files []string) other {
	o := other{name: name}
	if r.device == "cpu" {
		o.absent = "no GPU"
		return o
	}
	var seconds, rates []float64
	for i := range r.runs + 1 {
		if err := lab.Heat(ctx, 1, files...); err != nil { // which some of them drop
			o.absent = err.Error()
			return o
		}
		out, err := lab.Exec(exec.CommandContext(ctx, r.python, slices.Concat([]string{r.path("others.py"), name, r.device}, files)...))
		if err != nil {
			o.absent = lab.LastLine(err.Error())
			return o
		}
		var p struct {
			Version string  `json:"version"`
			Absent  string  `json:"absent"`
			Bytes   int64   `json:"bytes"`
			Seconds float64 `json:"seconds"`
		}
		if err := json.Unmarshal(out.Output, &p); err != nil {
			o.absent = fmt.Sprintf("said %.100q", out.Output)
			return o
		}
		if o.version, o.absent = p.Version, p.Absent; o.absent != "" {
			return o
		}
		if i > 0 {
			seconds, rates = append(seconds, out.Seconds), append(rates, float64(p.Bytes)/p.Seconds)
		}
	}
	o.seconds, o.rate = lab.Median(seconds), lab.Median(rates)
	return o
}

func (o other) row() []string {
	if o.absent != "" {
		return []string{o.name, o.version, o.absent, ""}
	}
	return []string{o.name, o.version, fmt.Sprintf("%.1f", o.seconds), fmt.Sprintf("%.1f", o.rate/1e9)}
}
