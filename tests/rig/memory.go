package rig

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// PeakRSS returns the largest resident set that the process has had, in bytes.
func PeakRSS(pid int) (int64, error) { return procStatus(pid, "VmHWM:") }

// RSS returns the resident set of the process, in bytes.
func RSS(pid int) (int64, error) { return procStatus(pid, "VmRSS:") }

// procStatus returns a size of /proc/PID/status, in bytes.
func procStatus(pid int, field string) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no %s", pid, field)
}

// Cgroup is a memory control group of our own, of version 1 or 2. Close removes
// it.
type Cgroup struct {
	dir  string
	peak string // file with the largest charge so far
}

// NewCgroup makes a group below the root of the memory hierarchy. It needs root.
func NewCgroup(name string) (*Cgroup, error) {
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	v1 := &Cgroup{filepath.Join("/sys/fs/cgroup/memory", name), "memory.max_usage_in_bytes"}
	v2 := &Cgroup{filepath.Join("/sys/fs/cgroup", name), "memory.peak"}
	for _, g := range []*Cgroup{v1, v2} {
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(g.dir, g.peak)); err == nil {
			return g, nil
		}
		if err := os.Remove(g.dir); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("no memory cgroup can be made")
}

// SetLimit bounds the memory of the group, in bytes.
func (g *Cgroup) SetLimit(n int64) error {
	return os.WriteFile(g.byVersion("memory.limit_in_bytes", "memory.max"), strconv.AppendInt(nil, n, 10), 0o644)
}

// byVersion is the path of a file by its name in version 1 or in version 2.
func (g *Cgroup) byVersion(v1, v2 string) string {
	if g.peak == "memory.peak" {
		return filepath.Join(g.dir, v2)
	}
	return filepath.Join(g.dir, v1)
}

// Dir is the group's folder, with its cgroup.procs.
func (g *Cgroup) Dir() string { return g.dir }

// Command returns a command that runs inside the group.
func (g *Cgroup) Command(name string, args ...string) *exec.Cmd {
	script := `echo $$ > "$0" && exec "$@"`
	return exec.Command("sh", append([]string{"-c", script, filepath.Join(g.dir, "cgroup.procs"), name}, args...)...)
}

// Peak returns the largest charge so far, in bytes.
func (g *Cgroup) Peak() (int64, error) { return readBytes(filepath.Join(g.dir, g.peak)) }

// Charge returns what the group is charged now, in bytes.
func (g *Cgroup) Charge() (int64, error) {
	return readBytes(g.byVersion("memory.usage_in_bytes", "memory.current"))
}

// readBytes returns the number that a file consists of.
func readBytes(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// Kills returns how many processes the kernel has killed for want of memory in
// the group.
func (g *Cgroup) Kills() (int64, error) {
	file := g.byVersion("memory.oom_control", "memory.events")
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no oom_kill", file)
}

// Close removes the group, which must be empty.
func (g *Cgroup) Close() error { return os.Remove(g.dir) }
