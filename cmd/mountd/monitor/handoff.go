// What other processes of the host have of the cache's memory.

package monitor

import (
	"fmt"
	"os"
	"strings"
	"time"

	"weightfs/handoff"
)

// printedClients bounds the clients in the text.
const printedClients = 8

// Handoff is how the cache's memory is shared.
type Handoff struct {
	Shared  bool     `json:"shared"`        // other processes can map it
	Why     string   `json:"why,omitempty"` // they cannot
	Bytes   int64    `json:"bytes"`         // leased so far
	Held    int64    `json:"held"`          // of blocks that clients keep now
	Cap     int64    `json:"cap"`           // that they may keep
	Clients []Client `json:"clients"`       // the busiest first
}

// Client is a process that maps the memory.
type Client struct {
	PID         int32   `json:"pid"` // 0: of another PID namespace
	UID         uint32  `json:"uid"`
	Command     string  `json:"command"` // "": it cannot be seen
	Writable    bool    `json:"writable"`
	OpenSeconds float64 `json:"open_seconds"`
	Files       int     `json:"files"`
	Wants       int     `json:"wants"`  // ranges asked for and not yet leased
	Leases      int     `json:"leases"` // ranges that it keeps
	Held        int64   `json:"held"`   // bytes of their blocks
	Bytes       int64   `json:"bytes"`  // leased so far
	BytesPerSec float64 `json:"bytes_per_second"`
}

// handoff tells who has what of the memory.
func (m *Mount) handoff() Handoff {
	h := Handoff{Clients: []Client{}}
	if _, err := m.Cache.Shared(); err != nil {
		h.Why = err.Error()
		return h
	}
	if m.Handoff == nil {
		h.Why = "it has no socket"
		return h
	}
	s := m.Handoff.Stats()
	h.Shared, h.Bytes, h.Held, h.Cap = true, s.Bytes, s.Held, s.Cap
	for _, c := range s.Clients {
		h.Clients = append(h.Clients, Client{
			PID: c.PID, UID: c.UID, Command: commandOf(c.PID), Writable: c.Mode == handoff.Writable,
			OpenSeconds: time.Since(c.Since).Seconds(), Files: c.Files, Wants: c.Wants, Leases: c.Leases,
			Held: c.Held, Bytes: c.Bytes, BytesPerSec: c.Rate,
		})
	}
	return h
}

// rate is that of all clients together, in bytes per second.
func (h Handoff) rate() (sum float64) {
	for _, c := range h.Clients {
		sum += c.BytesPerSec
	}
	return sum
}

// leased is how many bytes clients were leased so far.
func (m *Mount) leased() int64 {
	if m.Handoff == nil {
		return 0
	}
	return m.Handoff.Leased()
}

// commandOf is what ps calls a process; "" where it cannot be seen.
func commandOf(pid int32) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// handoffMeasures are of the memory's clients.
func (m *Mount) handoffMeasures() []measure {
	var s handoff.Stats
	if m.Handoff != nil {
		s = m.Handoff.Stats()
	}
	return []measure{
		counter("handoff_bytes_total", "Bytes leased to other processes.", s.Bytes),
		counter("handoff_refused_total", "Connections to the memory that were refused.", s.Refused),
		counter("handoff_cut_total", "Connections to the memory that were cut off.", s.Cut),
		gauge("handoff_clients", "Processes that have the memory mapped, by connections.", int64(len(s.Clients))),
		gauge("handoff_held_bytes", "Memory that clients keep leased.", s.Held),
		gauge("handoff_cap_bytes", "Memory that clients may keep leased, 0 where it is not shared.", s.Cap),
	}
}

func (t *text) handoff(h Handoff) {
	switch {
	case !h.Shared:
		t.row("hand-off", "off: "+h.Why)
	case len(h.Clients) == 0:
		t.row("hand-off", fmt.Sprintf("no client, %s leased so far", formatSize(h.Bytes)))
	default:
		t.row("hand-off", fmt.Sprintf("%s, %s, %s leased so far, %s of %s kept", count(int64(len(h.Clients)), "client"),
			formatRate(h.rate()), formatSize(h.Bytes), formatSize(h.Held), formatSize(h.Cap)))
	}
	for _, c := range h.Clients[:min(len(h.Clients), printedClients)] {
		value := fmt.Sprintf("  %9s  %8s so far  %8s in %s, %d wanted  %s", formatRate(c.BytesPerSec), formatSize(c.Bytes),
			formatSize(c.Held), count(int64(c.Leases), "lease"), c.Wants, printable(readerText(uint32(c.PID), c.Command)))
		fmt.Fprintln(t, cutEnd(value, t.width))
	}
	if more := len(h.Clients) - printedClients; more > 0 {
		fmt.Fprintf(t, "  and %d more\n", more)
	}
}
