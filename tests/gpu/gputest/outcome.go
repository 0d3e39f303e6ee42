package main

import (
	"fmt"

	"weightfs/tests/lab"
)

// sample is one run of gpuload or of the bare loop: its time from exec to exit, and
// what it says of itself.
type sample struct {
	seconds float64
	lab.Load
}

// steady is bytes per second once the device was ready: gpuload reads while it is
// being opened.
func (r sample) steady() float64 {
	return float64(r.Bytes) / (r.Seconds - max(r.Phases.Device-r.Phases.Open, 0))
}

// outcome is a scenario's runs.
type outcome struct{ loads, loops []sample }

// ratios are how many times as fast gpuload is as the bare loop: from exec to
// exit, and once the device was ready.
func (o outcome) ratios() (whole, steady float64) {
	took := func(r sample) float64 { return r.seconds }
	return lab.MedianOf(o.loops, took) / lab.MedianOf(o.loads, took),
		lab.MedianOf(o.loads, sample.steady) / lab.MedianOf(o.loops, sample.steady)
}

// staging is the most page-locked memory of any run.
func (o outcome) staging() (most int64) {
	for _, r := range o.loads {
		most = max(most, r.PageLocked)
	}
	return most
}

func columns() []string {
	return []string{"from", "gpuload s:", "bare loop s:", "ratio:", "then gpuload GB/s:", "bare loop GB/s:", "ratio:", "page-locked MiB:"}
}

func (o outcome) row(name string) []string {
	number := func(format string, runs []sample, of func(sample) float64) string {
		return fmt.Sprintf(format, lab.MedianOf(runs, of))
	}
	took := func(r sample) float64 { return r.seconds }
	rate := func(r sample) float64 { return r.steady() / 1e9 }
	whole, steady := o.ratios()
	return []string{
		name, number("%.2f", o.loads, took), number("%.2f", o.loops, took), fmt.Sprintf("%.2f", whole),
		number("%.1f", o.loads, rate), number("%.1f", o.loops, rate), fmt.Sprintf("%.2f", steady), fmt.Sprint(o.staging() >> 20),
	}
}

// inside are the phases of gpuload's loads.
func (o outcome) inside(name string) []string {
	var seconds []float64
	var loads []lab.Load
	for _, r := range o.loads {
		seconds, loads = append(seconds, r.seconds), append(loads, r.Load)
	}
	return append([]string{name}, lab.Inside(seconds, loads)...)
}

// judge holds the figures to the promises; overlap only with a device that takes
// time to open. What a process takes to start and to end, and a device to open, is
// as long on both sides, and brings the ratio from exec to exit near to 1: so the
// steady one is held to the same.
func (o outcome) judge(s *score, sc scenario, overlap bool) {
	whole, steady := o.ratios()
	atLeast := func(what string, ratio float64) {
		var err error
		if ratio < sc.least {
			err = fmt.Errorf("%.3f, by %+v and %+v", ratio, o.loads, o.loops)
		}
		s.add(fmt.Sprintf("%s: at least %.2f of the bare loop, %s", sc.name, sc.least, what), err)
	}
	atLeast("from exec to exit", whole)
	atLeast("once the device is ready", steady)
	var much error
	if o.staging() >= stagingCap {
		much = fmt.Errorf("%d bytes", o.staging())
	}
	s.add(sc.name+": page-locked memory under 1 GiB", much)
	if !overlap || !sc.overlaps {
		return
	}
	var late error
	first := lab.MedianOf(o.loads, func(r sample) float64 { return r.Phases.Open + r.Phases.FirstByte })
	device := lab.MedianOf(o.loads, func(r sample) float64 { return r.Phases.Device })
	if first >= device {
		late = fmt.Errorf("the first byte came after %.3f s, the device was ready after %.3f s", first, device)
	}
	s.add(sc.name+": it reads while the device is being opened", late)
}
