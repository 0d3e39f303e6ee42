package cli

import (
	"runtime/debug"
	"testing"
)

func TestBuildOf(t *testing.T) {
	recorded := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "fedc"}, {Key: "vcs.time", Value: "2026-01-01T00:00:00Z"}},
	}
	cases := []struct {
		name, stamp string
		info        *debug.BuildInfo
		want        string
	}{
		{"stamped", "1.2.0 0123abc 2026-01-31T12:00:00Z", recorded, "1.2.0 (commit 0123abc, 2026-01-31T12:00:00Z)"},
		{"recorded", "", recorded, "v1.1.0 (commit fedc, 2026-01-01T00:00:00Z)"},
		{"without a repository", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "(devel)"},
		{"without anything", "", nil, "unknown"},
	}
	for _, c := range cases {
		if got := buildOf(c.stamp, c.info).String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
