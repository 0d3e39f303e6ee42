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

// Load is what gpuload load --json says of itself, as far as it is used. It is
// printed beside the time from exec to exit, which alone is compared.
type Load struct {
	Bytes int64 `json:"bytes"`
	// Seconds is from the first header on.
	Seconds    float64 `json:"seconds"`
	PageLocked int64   `json:"page_locked_peak_bytes"`
	Phases     Phases  `json:"phases"`
}

// Phases are seconds: Start before the source and the device were opened,
// Listing, Open and Device since that began, Header to Read since both were
// open, and Tail after Read.
type Phases struct {
	Start       float64 `json:"start"`
	Listing     float64 `json:"listing"`
	Open        float64 `json:"open"`
	Device      float64 `json:"device"`
	Header      float64 `json:"header"`
	FirstByte   float64 `json:"first_byte"`
	FirstTensor float64 `json:"first_tensor"`
	Read        float64 `json:"read"`
	Tail        float64 `json:"tail"`
}

// ParseLoad reads the report of gpuload load --json.
func ParseLoad(output []byte) (l Load, err error) {
	if err := json.Unmarshal(output, &l); err != nil {
		return l, fmt.Errorf("report %q: %w", output, err)
	}
	return l, nil
}

// PhaseHead are the columns of a load's inside: milliseconds since exec, but for
// what is the length of something.
func PhaseHead() []string {
	return []string{"exec to exit ms:", "start took:", "listing took:", "headers at:", "first byte at:", "all read at:", "tail took:", "the rest:"}
}

// Inside are the cells of PhaseHead for loads that took seconds from exec to
// exit: medians. The rest is the process's own beginning and its end.
func Inside(seconds []float64, loads []Load) []string {
	pick := func(number func(Load) float64) string {
		return fmt.Sprintf("%.0f", MedianOf(loads, number)*1e3)
	}
	at := func(point func(Phases) float64) string {
		return pick(func(l Load) float64 { return l.Phases.Start + l.Phases.Open + point(l.Phases) })
	}
	rest := make([]float64, len(loads))
	for i, l := range loads {
		rest[i] = seconds[i] - l.Phases.Start - l.Phases.Open - l.Seconds
	}
	return []string{
		fmt.Sprintf("%.0f", Median(seconds)*1e3),
		pick(func(l Load) float64 { return l.Phases.Start }), pick(func(l Load) float64 { return l.Phases.Listing }),
		at(func(p Phases) float64 { return p.Header }), at(func(p Phases) float64 { return p.FirstByte }), at(func(p Phases) float64 { return p.Read }),
		pick(func(l Load) float64 { return l.Phases.Tail }), fmt.Sprintf("%.0f", Median(rest)*1e3),
	}
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
