package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"weightfs/remote/tier"
)

// TierReport is of the cache that stands before the store, and what came from where.
type TierReport struct {
	HitRate     *float64         `json:"hit_rate"`     // null where the cache does not say
	Bytes       int64            `json:"bytes"`        // that came from it
	DirectBytes int64            `json:"direct_bytes"` // that came from the store in its place
	Fallbacks   map[string]int64 `json:"fallbacks"`    // by cause; those that were
	Instances   []TierInstance   `json:"instances"`
}

// TierInstance is a server of it.
type TierInstance struct {
	URL      string `json:"url"`
	State    string `json:"state"` // closed: it is asked; open, probing: it is left alone
	Requests int64  `json:"requests"`
	Failures int64  `json:"failures"`
	Breaks   int64  `json:"breaks"`
}

// NewTierReport is the report of a tier.
func NewTierReport(s tier.Stats) *TierReport {
	t := &TierReport{Bytes: s.TierBytes(), DirectBytes: s.DirectBytes, Fallbacks: map[string]int64{}}
	if rate, ok := s.HitRate(); ok {
		t.HitRate = &rate
	}
	for cause, n := range s.Fallbacks {
		if n > 0 {
			t.Fallbacks[tier.Cause(cause).String()] = n
		}
	}
	for _, in := range s.Instances {
		t.Instances = append(t.Instances, TierInstance{in.URL, in.State.String(), in.Requests, in.Failures, in.Breaks})
	}
	return t
}

// Lost says that there is a cache and no instance of it is asked now. t may be nil.
func (t *TierReport) Lost() bool {
	return t != nil && !slices.ContainsFunc(t.Instances, TierInstance.asked)
}

// Line says in a line what came from where.
func (t *TierReport) Line() string {
	rate := "hits unknown"
	if t.HitRate != nil {
		rate = fmt.Sprintf("%.0f%% hits", 100**t.HitRate)
	}
	line := fmt.Sprintf("%s, %s from it, %s from the store in its place", rate, humanize.IBytes(uint64(t.Bytes)), humanize.IBytes(uint64(t.DirectBytes)))
	var causes []string
	for c := range tier.Causes {
		if n := t.Fallbacks[c.String()]; n > 0 {
			causes = append(causes, fmt.Sprintf("%d %s", n, c))
		}
	}
	if len(causes) > 0 {
		line += ": " + strings.Join(causes, ", ")
	}
	return line
}

// asked says that the instance is not left alone.
func (in TierInstance) asked() bool { return in.State == tier.Closed.String() }

// Line says in a line what the instance does.
func (in TierInstance) Line() string {
	state := "left alone"
	if in.asked() {
		state = "asked"
	}
	return fmt.Sprintf("%s: %s, %s, %d failed", in.URL, state, english.Plural(int(in.Requests), "request", ""), in.Failures)
}
