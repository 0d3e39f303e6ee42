package monitor

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"weightfs/cmd/cli"
)

// Report is what a running mountd says of itself.
type Report struct {
	Source        string           `json:"source"`
	Mountpoint    string           `json:"mountpoint"`
	PID           int              `json:"pid"`
	UptimeSeconds float64          `json:"uptime_seconds"`
	MemoryLimit   int64            `json:"memory_limit"`
	Measures      map[string]int64 `json:"measures"`
}

// Report describes the mount as of now.
func (m *Mount) Report() Report {
	r := Report{
		Source:        m.Source,
		Mountpoint:    m.Mountpoint,
		PID:           os.Getpid(),
		UptimeSeconds: time.Since(m.Since).Seconds(),
		MemoryLimit:   m.MemoryLimit,
		Measures:      map[string]int64{},
	}
	for _, measure := range m.measures() {
		r.Measures[measure.key()] = measure.value
	}
	return r
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, value any) {
		fmt.Fprintf(table, "%s\t%v\n", name, value)
	}
	row("source", r.Source)
	row("mountpoint", r.Mountpoint)
	row("pid", r.PID)
	row("uptime", (time.Duration(r.UptimeSeconds) * time.Second).String())
	row("memory_limit", cli.FormatSize(r.MemoryLimit))
	for _, name := range slices.Sorted(maps.Keys(r.Measures)) {
		row(name, r.Measures[name])
	}
	return table.Flush()
}
