// What other processes of the host have of the cache's memory.

package monitor

// Handoff is how the cache's memory is shared.
type Handoff struct {
	Shared bool   `json:"shared"`        // other processes can map it
	Why    string `json:"why,omitempty"` // they cannot
}

func (m *Mount) handoff() Handoff {
	if _, err := m.Cache.Shared(); err != nil {
		return Handoff{Why: err.Error()}
	}
	return Handoff{Shared: true}
}

func (t *text) handoff(h Handoff) {
	if h.Shared {
		t.row("hand-off", "memory can be mapped, in huge pages")
	} else {
		t.row("hand-off", "off: "+h.Why)
	}
}
