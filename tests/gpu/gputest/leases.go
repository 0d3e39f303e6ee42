package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"weightfs/tests/lab"
)

// What is promised of blocks that mountd holds, copied to the GPU from where they lie,
// beside page-locked memory over the same bus in the same run.
const leastOfBus = 0.95

// heldMount is the large checkpoint in a mount whose daemon holds all of it.
func (r *suite) heldMount(ctx context.Context) (files []string, err error) {
	if r.large == nil {
		return nil, errNoCheckpoint
	}
	if r.heldDir == "" {
		m, err := r.programs.Mount(ctx, r.largeMount())
		if err != nil {
			return nil, err
		}
		r.mounts, r.heldDir = append(r.mounts, m), m.Dir
	}
	return under(r.heldDir, r.large), nil
}

// measureInPlace has leaseloop register the memory of the daemon and copy from there:
// whether the driver takes it, whether the pages stay page-locked once the mapping is
// read-only, and how fast that is.
func measureInPlace(ctx context.Context, r *suite, s *report) error {
	files, err := r.heldMount(ctx)
	if err != nil {
		return err
	}
	var runs []lab.InPlace
	for range r.runs {
		text, err := r.output(ctx, "leaseloop", append([]string{"--device", r.device}, files...)...)
		if err != nil {
			return err
		}
		var run lab.InPlace
		if err := json.Unmarshal([]byte(text), &run); err != nil {
			return fmt.Errorf("leaseloop: %w: %.200q", err, text)
		}
		runs = append(runs, run)
	}
	last := runs[len(runs)-1]
	s.add("mountd gives its user memory that can be registered", unless(last.Writable, "the mapping is read-only"))
	s.add("what is copied of leases is right, also once the mapping is read-only", unless(last.Right, "other bytes on the device"))
	if last.Refused != "" {
		s.skip("registration of the daemon's memory, a shared mapping of a tmpfs that is mounted nowhere", last.Refused)
	} else {
		s.add("the daemon's memory, a shared mapping of a tmpfs that is mounted nowhere, is registered", unless(last.Segments > 0, "no segment"))
	}
	copying := r.leaseFigure("held blocks, copied in place", "once registered", lab.AtLeast(leastOfBus), runs, func(i lab.InPlace) float64 { return float64(i.Bytes) / i.CopySeconds })
	whole := r.leaseFigure("held blocks, copied in place", "with registration", lab.Target{}, runs, func(i lab.InPlace) float64 { return float64(i.Bytes) / (i.CopySeconds + i.RegisterSeconds) })
	if last.Refused == "" && last.Unregistered <= last.Bytes/1024 {
		s.judge(copying)
	} else {
		s.skip(copying.Title(), fmt.Sprintf("%d of %d bytes were copied by way of page-locked memory", last.Unregistered, last.Bytes))
	}
	var rows [][]string
	for _, f := range []lab.Figure{copying, whole} {
		rows = append(rows, []string{f.Name, f.Unit.Format(f.Base()), f.Unit.Format(f.Load()), fmt.Sprintf("%.3g", f.Ratio())})
	}
	s.table(fmt.Sprintf("%.1f GiB of held blocks, %d runs: %d segments, %.1f GiB, registered in %.3f s, %.1f GB/s.",
		float64(last.Bytes)/(1<<30), len(runs), last.Segments, float64(last.RegisteredBytes)/(1<<30), last.RegisterSeconds,
		float64(last.RegisteredBytes)/max(last.RegisterSeconds, 1e-9)/1e9),
		lab.Table([]string{"leases to the device", "page-locked memory to it:", "leases:", "ratio:"}, rows))
	return nil
}

func unless(ok bool, why string) error {
	if ok {
		return nil
	}
	return errors.New(why)
}

func (r *suite) leaseFigure(row, name string, target lab.Target, runs []lab.InPlace, rate func(lab.InPlace) float64) lab.Figure {
	f := lab.Figure{Row: row, Spec: lab.Spec{Name: name, Unit: lab.Rate, Baseline: "page-locked memory", Target: target}}
	for _, run := range runs {
		f.Pairs = append(f.Pairs, lab.Pair{Base: run.Ceiling, Load: rate(run)})
	}
	return f
}

// measureTorch loads the held checkpoint by the Python client into torch, and by
// gpuload, in turns.
func measureTorch(ctx context.Context, r *suite, s *report) error {
	files, err := r.heldMount(ctx)
	if err != nil {
		return err
	}
	o := r.other(ctx, "weightfs", files, func() error { return nil })
	if o.absent != "" {
		return errors.New(o.absent)
	}
	var loads []lab.Load
	for range r.runs {
		l, err := r.load(ctx, r.heldDir)
		if err != nil {
			return err
		}
		loads = append(loads, l)
	}
	rows := [][]string{o.row(), {"gpuload", "", fmt.Sprintf("%.1f", lab.MedianOf(loads, func(l lab.Load) float64 { return l.Whole })),
		fmt.Sprintf("%.1f", lab.MedianOf(loads, steady)/1e9)}}
	s.table(fmt.Sprintf("Held blocks, from exec to exit, and once its imports are done or the device is ready. Of %d bytes gpuload leased %d, and copied %d in place.",
		loads[0].Bytes, loads[0].Leased, loads[0].InPlace), lab.Table([]string{"loader", "version", "s:", "then GB/s:"}, rows))
	return nil
}

// processes load at the same time, each its own part of the checkpoint.
const processes = 8

// measureProcesses has as many processes load at once, each the shards of its part, of
// held blocks.
func measureProcesses(ctx context.Context, r *suite, s *report) error {
	files, err := r.heldMount(ctx)
	if err != nil {
		return err
	}
	if len(files)%processes != 0 {
		return fmt.Errorf("%d shards for %d processes", len(files), processes)
	}
	if _, err := r.load(ctx, r.heldDir); err != nil { // so that they are held
		return err
	}
	loads, errs := make([]lab.Load, processes), make([]error, processes)
	var all sync.WaitGroup
	start := time.Now()
	for i := range processes {
		all.Go(func() {
			n := len(files) / processes
			args := slices.Concat([]string{"load", "--device", r.device, "--json"}, files[i*n:(i+1)*n])
			cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "gpuload"), args...)
			loads[i], errs[i] = lab.ExecLoad(cmd)
		})
	}
	all.Wait()
	seconds := time.Since(start).Seconds()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var bytes, leased, inPlace int64
	var each []string
	for _, l := range loads {
		bytes, leased, inPlace = bytes+l.Bytes, leased+l.Leased, inPlace+l.InPlace
		each = append(each, fmt.Sprintf("%.1f", steady(l)/1e9))
	}
	s.add(fmt.Sprintf("%d processes lease what they load", processes), unless(leased >= bytes*3/4, fmt.Sprintf("%d of %d bytes", leased, bytes)))
	s.table(fmt.Sprintf("%d processes at once, each an eighth of the held checkpoint.", processes), lab.Table(
		[]string{"GB in all:", "leased:", "in place:", "from the first exec to the last exit s:", "GB/s:", "each once its device is ready, GB/s"},
		[][]string{{gigabytes(bytes), gigabytes(leased), gigabytes(inPlace), fmt.Sprintf("%.2f", seconds), fmt.Sprintf("%.1f", float64(bytes)/seconds/1e9), strings.Join(each, " ")}}))
	return nil
}

func gigabytes(n int64) string { return fmt.Sprintf("%.2f", float64(n)/1e9) }
