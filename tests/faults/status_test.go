package faults

import (
	"context"
	"encoding/json"
	"regexp"
	"testing"

	"weightfs/tests/rig"
)

// report is what a mountd tells of itself, which it does a moment after its mount
// answers.
type report struct {
	Measures    map[string]int64 `json:"measures"`
	MemoryLimit int64            `json:"memory_limit"`
}

func reportOf(t *testing.T, dir string) (r report) {
	t.Helper()
	var result rig.Result
	if !rig.Eventually(func() bool {
		result = runChild(t, nil, theStage.Mountd, "status", "--json", dir)
		return result.Code == 0
	}) {
		t.Fatalf("status: exit %d: %s", result.Code, result.Stderr)
	}
	noError(t, json.Unmarshal([]byte(result.Stdout), &r))
	return r
}

func measures(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	return reportOf(t, dir).Measures
}

// checkQuiet holds that soon nothing is held for readers that are gone.
func checkQuiet(t *testing.T, m *rig.Mount) {
	t.Helper()
	var now map[string]int64
	if !rig.Eventually(func() bool {
		now = measures(t, m.Dir)
		return now["open_files"]+now["cache_leases"]+now["active_fetches"] == 0
	}) {
		t.Errorf("mountd still holds something: %v", now)
	}
}

// awaitLogged waits for what process logs to match pattern, and returns the first
// match with its groups, or nil if it does not come.
func awaitLogged(t *testing.T, process *rig.Process, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), childLimit)
	defer cancel()
	match, err := process.AwaitOutput(ctx, regexp.MustCompile(pattern))
	if err != nil {
		t.Error(err)
	}
	return match
}
