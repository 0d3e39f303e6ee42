package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"weightfs/gpuload"
)

// loadReport is what gpuload load --json prints. Times are in seconds. Seconds is from
// the start of the process until the last tensor was ready; to free what it took is
// not in it.
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
	// LeasedBytes came from the memory of a mount's daemon.
	LeasedBytes int64 `json:"leased_bytes"`
	// InPlaceBytes of those were copied to the device from there, and not by way of
	// staging.
	InPlaceBytes int64 `json:"in_place_bytes"`
	// PageLockedPeakBytes is staging and what reads back go through; for a GPU.
	PageLockedPeakBytes int64       `json:"page_locked_peak_bytes,omitempty"`
	Phases              phaseReport `json:"phases"`
}

// phaseReport is points in a load's time, from the start of the process on, and where
// its readers spent theirs. Start is when the settings were known, Driver when the
// device was found, Context when it was ready, Listing when the source was open,
// Header when the last header was parsed and its memory allocated. Copy is how long at
// least one copy was under way, Tail how long the last ones took after the last read.
type phaseReport struct {
	Start       float64 `json:"start"`
	Driver      float64 `json:"driver"`
	Context     float64 `json:"context"`
	Listing     float64 `json:"listing"`
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
	point := func(d time.Duration) float64 { return (in.opening + d).Seconds() } // of the load
	return loadReport{
		Source: in.source.String(), Device: in.device.Name(),
		Files: s.Files, Tensors: s.Tensors, Bytes: s.Bytes,
		Seconds: point(s.Elapsed), BytesPerSecond: float64(s.Bytes) / point(s.Elapsed),
		Concurrency: s.Concurrency, Readers: s.Readers, PartBytes: s.PartBytes, StagingPeakBytes: s.StagingPeakBytes, LeasedBytes: s.LeasedBytes, InPlaceBytes: s.InPlaceBytes, PageLockedPeakBytes: in.pageLocked(),
		Phases: phaseReport{
			Start: in.start.Seconds(), Driver: in.driver.Seconds(), Context: in.deviceReady().Seconds(), Listing: in.listing.Seconds(),
			Header: point(p.Header), FirstByte: point(p.FirstByte), FirstTensor: point(p.FirstTensor), Read: point(p.Read),
			Copy: p.Copy.Seconds(), Tail: p.Tail.Seconds(),
			Reading: p.Reading.Seconds(), Waiting: p.Waiting.Seconds(), Parsing: p.Parsing.Seconds(), Bound: s.Bound(),
		},
	}
}

// report prints the summary, or the JSON object.
func (p *loadPlan) report(in *inputs, s gpuload.Stats) error {
	r := newLoadReport(in, s)
	if p.flags.json {
		return json.NewEncoder(p.app.stdout).Encode(r)
	}
	ms := func(seconds float64) time.Duration {
		return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
	}
	at := r.Phases
	_, err := fmt.Fprintf(p.app.stdout,
		"%s in %s, %s, onto %s in %.3f s: %.2f GB/s\n"+
			"from the process's start: settings at %v, driver at %v, device ready at %v, listed at %v, headers at %v, first byte at %v, first tensor at %v, all read at %v, last copy %v later, copying for %v\n"+
			"%s of %s parts, %s of staging at most%s; the %s set the pace\n",
		english.Plural(s.Tensors, "tensor", ""), english.Plural(s.Files, "file", ""), humanize.Bytes(uint64(s.Bytes)), in.device.Name(), r.Seconds, r.BytesPerSecond/1e9,
		ms(at.Start), ms(at.Driver), ms(at.Context), ms(at.Listing), ms(at.Header), ms(at.FirstByte), ms(at.FirstTensor), ms(at.Read), ms(at.Tail), ms(at.Copy),
		english.Plural(s.Readers, "reader", ""), humanize.IBytes(uint64(s.PartBytes)), humanize.IBytes(uint64(s.StagingPeakBytes)), leasedText(s), s.Bound())
	return err
}

// leasedText says how much of a load came from the memory of a mount's daemon.
func leasedText(s gpuload.Stats) string {
	if s.LeasedBytes == 0 {
		return ""
	}
	return fmt.Sprintf("; %s leased of mountd's memory, %s of it copied from there in place",
		humanize.Bytes(uint64(s.LeasedBytes)), humanize.Bytes(uint64(s.InPlaceBytes)))
}
