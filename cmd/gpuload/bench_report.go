package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"weightfs/cmd/cli"
)

// benchRun is one load.
type benchRun struct {
	Concurrency      int     `json:"concurrency"`
	Bytes            int64   `json:"bytes"`
	Seconds          float64 `json:"seconds"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
	StagingPeakBytes int64   `json:"staging_peak_bytes"`
	// LeasedBytes came from the memory of a mount's daemon.
	LeasedBytes int64 `json:"leased_bytes"`
	// Bound is what the readers waited for: source, device or headers.
	Bound string `json:"bound"`
	// Start says what the bytes may have been read from: cold, the mount's
	// cache, or the page cache.
	Start string `json:"start"`

	piece int64
}

// The stages of a load.
const (
	stageStore   = "store"
	stageSource  = "source" // beside a store of another name
	stageMount   = "mount"
	stageFUSE    = "mount through FUSE" // where it was leased of
	stageStaging = "staging copy"
	stageBus     = "bus"
)

// benchStage is a stage by itself.
type benchStage struct {
	Name           string  `json:"name"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	// Aside is a stage that not every byte goes through: the store behind a
	// mount, which may have the bytes already; or that none does: the other way
	// to read a mount.
	Aside bool `json:"aside"`
}

// benchBus is the rate of copies from staging to the device.
type benchBus struct {
	PieceBytes     int64   `json:"piece_bytes"`
	Streams        int     `json:"streams"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// benchResult is a whole measurement, and what gpuload bench --json prints.
type benchResult struct {
	Source []string `json:"source"`
	Device string   `json:"device"`
	// Mounted tells whether the source is on a FUSE mount.
	Mounted bool         `json:"mounted"`
	Runs    []benchRun   `json:"runs"`
	Stages  []benchStage `json:"stages"`
	Bus     []benchBus   `json:"bus"`
	// Tier is the shared cache before the bucket; null without one.
	Tier *cli.TierReport `json:"tier"`
	// Notes are lines on what was not measured.
	Notes []string `json:"-"`
}

func (r *benchResult) note(text string) { r.Notes = append(r.Notes, text) }

// notes are Notes, with what was swept and which starts were not cold.
func (r *benchResult) notes() []string {
	swept := "swept: how many parts gpuload reads at a time"
	if r.Mounted {
		swept += "; the mount's own GETs were as mountd decides (its --concurrency)"
	}
	notes := []string{swept}
	starts := make(map[string]bool)
	for _, run := range r.Runs {
		starts[run.Start] = true
	}
	if run := r.best(); r.Mounted && run.LeasedBytes > 0 {
		notes = append(notes, fmt.Sprintf("the best load had %s from leases of mountd's memory", humanize.Bytes(uint64(run.LeasedBytes))))
	}
	if starts[startMount] {
		notes = append(notes, "not cold: the mount may hold bytes that it fetched before; a fresh mount, and one concurrency, make a cold start")
	}
	if starts[startPages] {
		notes = append(notes, "not cold: the kernel did not forget all of its cached pages of the files")
	}
	return append(notes, r.Notes...)
}

func (r *benchResult) addStage(name string, rate float64) {
	r.Stages = append(r.Stages, benchStage{Name: name, BytesPerSecond: rate})
}

func (r *benchResult) addAside(name string, rate float64) {
	r.Stages = append(r.Stages, benchStage{Name: name, BytesPerSecond: rate, Aside: true})
}

// bestBus is the fastest way over the bus.
func (r *benchResult) bestBus() benchBus {
	return slices.MaxFunc(r.Bus, func(a, b benchBus) int { return cmp.Compare(a.BytesPerSecond, b.BytesPerSecond) })
}

// ceiling is the slowest stage, what is behind a mount included: no load of bytes
// that nothing on this host holds can be faster.
func (r *benchResult) ceiling() benchStage {
	onTheWay := slices.DeleteFunc(slices.Clone(r.Stages), func(s benchStage) bool { return s.Name == stageFUSE })
	return slices.MinFunc(onTheWay, func(a, b benchStage) int { return cmp.Compare(a.BytesPerSecond, b.BytesPerSecond) })
}

// best is the fastest run.
func (r *benchResult) best() benchRun {
	best := r.Runs[0]
	for _, run := range r.Runs {
		if run.Seconds < best.Seconds {
			best = run
		}
	}
	return best
}

// nearEnough is the share of a limit's rate at which what runs beneath it is
// taken to be held up by it. Stages that are both near their limit slow each
// other down, on one memory bus.
const nearEnough = 0.8

// limit is the slowest stage that every byte goes through, or the store behind
// the mount where that is the mount and comes no faster than its store: then it
// had most bytes from there.
func (r *benchResult) limit() benchStage {
	var slowest benchStage
	for _, s := range r.Stages {
		if !s.Aside && (slowest.Name == "" || s.BytesPerSecond < slowest.BytesPerSecond) {
			slowest = s
		}
	}
	if slowest.Name != stageMount {
		return slowest
	}
	for _, s := range r.Stages {
		if s.Name == stageStore && s.Aside && nearEnough <= slowest.BytesPerSecond/s.BytesPerSecond && nearEnough <= s.BytesPerSecond/slowest.BytesPerSecond {
			return s
		}
	}
	return slowest
}

// bottleneck says in words what keeps the best run from being faster. What is
// lost beyond nearEnough is lost between the stages.
func (r *benchResult) bottleneck() string {
	limit, best := r.limit(), r.best()
	share := best.BytesPerSecond / limit.BytesPerSecond
	if share >= 1 {
		return fmt.Sprintf("the %s: the best load is as fast as that by itself", limit.Name)
	}
	if share >= nearEnough {
		return fmt.Sprintf("the %s: the best load has %.0f%% of its speed", limit.Name, 100*share)
	}
	return fmt.Sprintf("this host's processors or memory: the slowest stage, the %s, could do %.2f GB/s by itself, the best load has %.0f%% of that",
		limit.Name, limit.BytesPerSecond/1e9, 100*share)
}

func (r *benchResult) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CONCURRENCY\tSECONDS\tGB/S\tSTAGING\tLEASED\tWAITED FOR\tSTART")
	for _, run := range r.Runs {
		fmt.Fprintf(t, "%d\t%.3f\t%.2f\t%s\t%s\t%s\t%s\n", run.Concurrency, run.Seconds, run.BytesPerSecond/1e9,
			humanize.IBytes(uint64(run.StagingPeakBytes)), humanize.Bytes(uint64(run.LeasedBytes)), run.Bound, run.Start)
	}
	fmt.Fprintln(t, "\nBY ITSELF\tGB/S")
	for _, s := range r.Stages {
		fmt.Fprintf(t, "%s\t%.2f\n", s.Name, s.BytesPerSecond/1e9)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	best, ceiling := r.bestBus(), r.ceiling()
	if _, err := fmt.Fprintf(w, "\nBus: fastest by copies of %s on %s.\nBottleneck: %s.\nCeiling of a cold load: the %s, %.2f GB/s.\n",
		humanize.IBytes(uint64(best.PieceBytes)), english.Plural(best.Streams, "stream", ""), r.bottleneck(),
		ceiling.Name, ceiling.BytesPerSecond/1e9); err != nil {
		return err
	}
	if r.Tier != nil {
		if _, err := fmt.Fprintf(w, "Shared cache: %s.\n", r.Tier.Line()); err != nil {
			return err
		}
		for _, in := range r.Tier.Instances {
			if _, err := fmt.Fprintf(w, "  %s\n", in.Line()); err != nil {
				return err
			}
		}
	}
	for _, note := range r.notes() {
		if _, err := fmt.Fprintf(w, "Note: %s.\n", note); err != nil {
			return err
		}
	}
	return nil
}

func (r *benchResult) writeJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		*benchResult
		Bottleneck string     `json:"bottleneck"`
		Ceiling    benchStage `json:"ceiling"`
		Notes      []string   `json:"notes"`
	}{r, r.bottleneck(), r.ceiling(), r.notes()})
}

// title names what was measured, for the plot.
func (r *benchResult) title() string {
	return fmt.Sprintf("%s onto %s, %s", strings.Join(r.Source, " "), r.Device, humanize.Bytes(uint64(r.best().Bytes)))
}
