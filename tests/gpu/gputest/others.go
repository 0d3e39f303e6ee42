package main

import (
	"context"
	"encoding/json"
	"errors"
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

// otherLoaders are safetensors' load_file, and what else there is on PyPI.
var otherLoaders = []string{"safetensors", "runai-model-streamer", "fastsafetensors", "instanttensor"}

// beside measures one of them over the local files, and holds gpuload to what is
// promised beside load_file.
func (r *suite) beside(ctx context.Context, s *report, name string) error {
	if r.large == nil {
		return errNoCheckpoint
	}
	files := under(r.path("large"), r.large)
	o := r.other(ctx, name, files, func() error { return lab.Heat(ctx, 1, files...) }) // which some of them drop
	if o.absent != "" {
		return errors.New(o.absent)
	}
	s.table("The same local files, from exec to exit, and once its imports are done:", lab.Table([]string{"loader", "version", "s:", "then GB/s:"}, [][]string{o.row()}))
	if name == otherLoaders[0] && r.loads != nil {
		s.judge(besideLoadFile("local files, in the page cache", lab.MedianOf(r.loads, steady), o.rate))
	}
	return nil
}

// other takes one run more than are counted, the first, which warms up. prepare is
// called before each.
func (r *suite) other(ctx context.Context, name string, files []string, prepare func() error) other {
	o := other{name: name}
	if r.device == "cpu" {
		o.absent = "no GPU"
		return o
	}
	var seconds, rates []float64
	for i := range r.runs + 1 {
		if err := prepare(); err != nil {
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
	return []string{o.name, o.version, fmt.Sprintf("%.1f", o.seconds), fmt.Sprintf("%.1f", o.rate/1e9)}
}
