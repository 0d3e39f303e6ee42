package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Run is a program's whole life, as the process that started it saw it.
type Run struct {
	// Seconds is from exec to exit.
	Seconds float64
	Output  []byte
	// Memory is the largest resident set, in bytes.
	Memory int64
}

// Exec runs a program to its end and times it. Its error has what the program
// said, where nobody else reads its standard error.
func Exec(cmd *exec.Cmd) (r Run, err error) {
	var said strings.Builder
	if cmd.Stderr == nil {
		cmd.Stderr = &said
	}
	begin := time.Now()
	r.Output, err = cmd.Output()
	r.Seconds = time.Since(begin).Seconds()
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", cmd.Path, err, strings.TrimSpace(said.String()))
	}
	r.Memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return r, nil
}

// LastLine is the end of what a program said.
func LastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// Load is what gpuload load --json says of itself, as far as it is used, and the
// time from exec to exit.
type Load struct {
	Whole float64 `json:"whole"`
	Bytes int64   `json:"bytes"`
	// Seconds is from the process's start until the last tensor is ready.
	Seconds    float64 `json:"seconds"`
	Staging    int64   `json:"staging_peak_bytes"`
	PageLocked int64   `json:"page_locked_peak_bytes"`
	Leased     int64   `json:"leased_bytes"`
	InPlace    int64   `json:"in_place_bytes"`
	Phases     Phases  `json:"phases"`
}

// Phases are seconds since the process's start, but for Tail, after Read.
type Phases struct {
	Start       float64 `json:"start"`
	Driver      float64 `json:"driver"`
	Context     float64 `json:"context"`
	Listing     float64 `json:"listing"`
	Header      float64 `json:"header"`
	FirstByte   float64 `json:"first_byte"`
	FirstTensor float64 `json:"first_tensor"`
	Read        float64 `json:"read"`
	Tail        float64 `json:"tail"`
}

// ExecLoad is Exec of what reports as gpuload load --json does.
func ExecLoad(cmd *exec.Cmd) (l Load, err error) {
	r, err := Exec(cmd)
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(r.Output, &l); err != nil {
		return l, fmt.Errorf("report %q: %w", r.Output, err)
	}
	l.Whole = r.Seconds
	return l, nil
}

// InPlace is what leaseloop prints. Rates are in bytes per second.
type InPlace struct {
	Bytes int64 `json:"bytes"`
	// Writable says that the daemon gave memory that can be registered.
	Writable bool `json:"writable"`
	// Refused is why the device registered nothing; "" where it did.
	Refused         string  `json:"refused"`
	Segments        int     `json:"segments"`
	RegisteredBytes int64   `json:"registered_bytes"`
	RegisterSeconds float64 `json:"register_seconds"`
	// Unregistered is how many bytes were copied by way of page-locked memory, since
	// nothing is registered where they lie.
	Unregistered int64   `json:"unregistered_bytes"`
	Ceiling      float64 `json:"ceiling_bytes_per_second"`
	CopySeconds  float64 `json:"copy_seconds"`
	// Right says that what was copied after the mapping had been made read-only again is
	// what the leases had: the pages stayed page-locked.
	Right bool `json:"right"`
}

// PhaseHead are the columns of a load's inside: milliseconds since exec, but for
// what is the length of something.
func PhaseHead() []string {
	return []string{"exec to exit ms:", "settings at:", "device ready at:", "listed at:", "headers at:", "first byte at:", "all read at:", "tail took:", "the end took:"}
}

// Inside are the cells of PhaseHead for loads: medians. The end is what a process
// frees and closes.
func Inside(loads []Load) []string {
	var cells []string
	for _, number := range []func(Load) float64{
		func(l Load) float64 { return l.Whole }, func(l Load) float64 { return l.Phases.Start }, func(l Load) float64 { return l.Phases.Context },
		func(l Load) float64 { return l.Phases.Listing }, func(l Load) float64 { return l.Phases.Header }, func(l Load) float64 { return l.Phases.FirstByte },
		func(l Load) float64 { return l.Phases.Read }, func(l Load) float64 { return l.Phases.Tail }, func(l Load) float64 { return l.Whole - l.Seconds },
	} {
		cells = append(cells, fmt.Sprintf("%.0f", MedianOf(loads, number)*1e3))
	}
	return cells
}

// Measures are what a mountd counts of itself, by name.
func Measures(ctx context.Context, mountd, dir string) (map[string]int64, error) {
	out, err := Exec(exec.CommandContext(ctx, mountd, "status", "--json", dir))
	if err != nil {
		return nil, err
	}
	var report struct {
		Measures map[string]int64 `json:"measures"`
	}
	if err := json.Unmarshal(out.Output, &report); err != nil {
		return nil, fmt.Errorf("mountd status: %w", err)
	}
	return report.Measures, nil
}
