package harness

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Dir is the group's folder, with its cgroup.procs.
func (g *Cgroup) Dir() string { return g.dir }

// Limit bounds the group's charge to so many bytes.
func (g *Cgroup) Limit(bytes int64) error {
	return os.WriteFile(filepath.Join(g.dir, g.byVersion("memory.limit_in_bytes", "memory.max")), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// Charge returns what the group is charged now, in bytes.
func (g *Cgroup) Charge() (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, g.byVersion("memory.usage_in_bytes", "memory.current")))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// byVersion chooses between the names of a file in version 1 and version 2.
func (g *Cgroup) byVersion(v1, v2 string) string {
	if g.peak == "memory.peak" {
		return v2
	}
	return v1
}
