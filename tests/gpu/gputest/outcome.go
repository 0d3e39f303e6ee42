package main

import (
	"fmt"

	"weightfs/tests/lab"
)

// outcome is the medians of a scenario's runs.
type outcome struct {
	// loader and loop are bytes per second, without what was left to wait for
	// the device's context; runs are those that the medians are of.
	loader, loop         float64
	loaderRuns, loopRuns []float64
	// Seconds since the opening began: until the device was ready, until the
	// first byte and the first tensor, and until all was on the device.
	device, firstByte, firstTensor, whole float64
	// loopWhole is the bare loop's, which overlaps none of it.
	loopWhole float64
	staging   int64 // the most of any run
}

func newOutcome(loads, loops []report) outcome {
	var o outcome
	var device, byte, tensor, whole, loopWhole []float64
	for _, l := range loads {
		p := l.Phases
		o.loaderRuns = append(o.loaderRuns, float64(l.Bytes)/(l.Seconds-max(p.Device-p.Open, 0)))
		device, whole = append(device, p.Device), append(whole, p.Open+l.Seconds)
		byte, tensor = append(byte, p.Open+p.FirstByte), append(tensor, p.Open+p.FirstTensor)
		o.staging = max(o.staging, l.PageLocked)
	}
	for _, l := range loops {
		o.loopRuns = append(o.loopRuns, float64(l.Bytes)/l.Seconds)
		loopWhole = append(loopWhole, l.OpenSeconds+l.Seconds)
	}
	o.loader, o.loop = lab.Median(o.loaderRuns), lab.Median(o.loopRuns)
	o.device, o.firstByte, o.firstTensor = lab.Median(device), lab.Median(byte), lab.Median(tensor)
	o.whole, o.loopWhole = lab.Median(whole), lab.Median(loopWhole)
	return o
}

func columns() []string {
	return []string{"from", "gpuload GB/s", "bare loop GB/s", "ratio", "device ready ms", "first byte ms", "first tensor ms",
		"all of it ms", "bare loop's sum ms", "page-locked MiB"}
}

func (o outcome) row(name string) []string {
	ms := func(seconds float64) string { return fmt.Sprintf("%.0f", seconds*1e3) }
	return []string{
		name,
		fmt.Sprintf("%.1f", o.loader/1e9),
		fmt.Sprintf("%.1f", o.loop/1e9),
		fmt.Sprintf("%.2f", o.loader/o.loop),
		ms(o.device), ms(o.firstByte), ms(o.firstTensor), ms(o.whole), ms(o.loopWhole),
		fmt.Sprintf("%d", o.staging>>20),
	}
}

// judge holds the figures to the promises; overlap only with a device that
// takes time to open. The sums beside each other show what the overlap is worth,
// but hold nothing: they differ as much by the rates as by the overlap.
func (o outcome) judge(s *score, sc scenario, overlap bool) {
	var slow, much, late error
	if o.loader < sc.least*o.loop {
		slow = fmt.Errorf("%.3g bytes/s, the bare loop has %.3g (runs %.3g and %.3g)", o.loader, o.loop, o.loaderRuns, o.loopRuns)
	}
	if o.staging >= stagingCap {
		much = fmt.Errorf("%d bytes", o.staging)
	}
	s.add(fmt.Sprintf("%s: at least %.2f of the bare loop", sc.name, sc.least), slow)
	s.add(sc.name+": page-locked memory under 1 GiB", much)
	if !overlap || !sc.overlaps {
		return
	}
	if o.firstByte >= o.device {
		late = fmt.Errorf("the first byte came after %.3f s, the device was ready after %.3f s", o.firstByte, o.device)
	}
	s.add(sc.name+": it reads while the device is being opened", late)
}
