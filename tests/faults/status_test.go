package faults

import (
	"context"
	"encoding/json"
	"regexp"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// quietLimit bounds the wait for what follows a reader's end by itself: the
// kernel's RELEASE, a cancelled fetch.
const quietLimit = 20 * time.Second

// measures are the numbers that a mountd gives of itself, which it does a moment
// after its mount answers.
func measures(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	var report struct {
		Measures map[string]int64 `json:"measures"`
	}
	var result rig.Result
	if !eventually(quietLimit, func() bool {
		result = runChild(t, nil, theStage.Mountd, "status", "--json", dir)
		return result.Code == 0
	}) {
		t.Fatalf("status: exit %d: %s", result.Code, result.Stderr)
	}
	noError(t, json.Unmarshal([]byte(result.Stdout), &report))
	return report.Measures
}

// checkQuiet holds that soon nothing is held for readers that are gone.
func checkQuiet(t *testing.T, m *rig.Mount) {
	t.Helper()
	leaked := map[string]int64{}
	if eventually(quietLimit, func() bool {
		now := measures(t, m.Dir)
		clear(leaked)
		for _, name := range []string{"open_files", "cache_leases", "active_fetches"} {
			if now[name] != 0 {
				leaked[name] = now[name]
			}
		}
		return len(leaked) == 0
	}) {
		return
	}
	t.Errorf("mountd still holds %v", leaked)
}

// awaitLogged waits for what process logs to match pattern, and returns the first
// match with its groups, or nil if it does not come.
func awaitLogged(t *testing.T, process *rig.Process, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), quietLimit)
	defer cancel()
	match, err := process.AwaitOutput(ctx, regexp.MustCompile(pattern))
	if err != nil {
		t.Error(err)
	}
	return match
}

// eventually polls until holds returns true, and returns false if that takes
// longer than limit.
func eventually(limit time.Duration, holds func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}
