package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"weightfs/gpuload"
)

// loadReport is what gpuload load --json prints. Times are in seconds.
type loadReport struct {
	Source           string  `json:"source"`
	Device           string  `json:"device"`
	Files            int     `json:"files"`
	Tensors          int     `json:"tensors"`
	Bytes            int64   `json:"bytes"`
	Seconds          float64 `json:"seconds"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
	Concurrency      int     `json:"concurrency"`
	Readers          int     `json:"readers"`
	PartBytes        int64   `json:"part_bytes"`
	StagingPeakBytes int64   `json:"staging_peak_bytes"`
	// PageLockedPeakBytes is staging and what reads back go through; for a GPU.
	PageLockedPeakBytes int64       `json:"page_locked_peak_bytes,omitempty"`
	Phases              phaseReport `json:"phases"`
}

// phaseReport is the points in a load's time, and where its readers spent
// theirs. Start is until opening began, Listing how long it took to open the
// source; Open and Device count from then on, the points after them from when
// both were open.
type phaseReport struct {
	Start       float64 `json:"start"`
	Listing     float64 `json:"listing"`
	Open        float64 `json:"open"`
	Device      float64 `json:"device"`
	Header      float64 `json:"header"`
	FirstByte   float64 `json:"first_byte"`
	FirstTensor float64 `json:"first_tensor"`
	Read        float64 `json:"read"`
	Copy        float64 `json:"copy"`
	Tail        float64 `json:"tail"`
	Reading     float64 `json:"reading"`
	Waiting     float64 `json:"waiting"`
	Parsing     float64 `json:"parsing"`
	Bound       string  `json:"bound"`
}

func newLoadReport(in *inputs, s gpuload.Stats) loadReport {
	p := s.Phases
	return loadReport{
		Source: in.source.String(), Device: in.device.Name(),
		Files: s.Files, Tensors: s.Tensors, Bytes: s.Bytes,
		Seconds: s.Elapsed.Seconds(), BytesPerSecond: s.BytesPerSecond(),
		Concurrency: s.Concurrency, Readers: s.Readers, PartBytes: s.PartBytes, StagingPeakBytes: s.StagingPeakBytes, PageLockedPeakBytes: in.pageLocked(),
		Phases: phaseReport{
			Start: in.start.Seconds(), Listing: in.listing.Seconds(),
			Open: in.opening.Seconds(), Device: in.deviceReady().Seconds(), Header: p.Header.Seconds(), FirstByte: p.FirstByte.Seconds(),
			FirstTensor: p.FirstTensor.Seconds(), Read: p.Read.Seconds(), Copy: p.Copy.Seconds(), Tail: p.Tail.Seconds(),
			Reading: p.Reading.Seconds(), Waiting: p.Waiting.Seconds(), Parsing: p.Parsing.Seconds(), Bound: s.Bound(),
		},
	}
}

// report prints the summary, or the JSON object.
func (p *loadPlan) report(in *inputs, s gpuload.Stats) error {
	if p.flags.json {
		return json.NewEncoder(p.app.stdout).Encode(newLoadReport(in, s))
	}
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	_, err := fmt.Fprintf(p.app.stdout,
		"%s in %s, %s, onto %s in %.3f s: %.2f GB/s\n"+
			"started in %v, listed in %v, opened in %v, the device ready in %v, headers at %v, first byte at %v, first tensor at %v, all read at %v, last copy %v later, copying for %v\n"+
			"%s of %s parts, %s of staging at most; the %s set the pace\n",
		english.Plural(s.Tensors, "tensor", ""), english.Plural(s.Files, "file", ""), humanize.Bytes(uint64(s.Bytes)), in.device.Name(), s.Elapsed.Seconds(), s.BytesPerSecond()/1e9,
		ms(in.start), ms(in.listing), ms(in.opening), ms(in.deviceReady()), ms(s.Phases.Header), ms(s.Phases.FirstByte), ms(s.Phases.FirstTensor), ms(s.Phases.Read), ms(s.Phases.Tail), ms(s.Phases.Copy),
		english.Plural(s.Readers, "reader", ""), humanize.IBytes(uint64(s.PartBytes)), humanize.IBytes(uint64(s.StagingPeakBytes)), s.Bound())
	return err
}
