package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// groups are the control groups of a node.
type groups struct {
	// enter is a shell script that enters them and becomes its arguments.
	enter string
	// hierarchies has a line NAME OPTIONS for each hierarchy of version 1.
	hierarchies string
	// unified is where that of version 2 is mounted.
	unified string
}

// joinGroups makes a group for the node in each hierarchy of this machine, but in
// those where a group needs to be set up first. They go with the test.
func joinGroups(tb testing.TB) groups {
	tb.Helper()
	g := groups{enter: `for g in`}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		mount, super, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(mount), strings.Fields(super)
		if len(fields) < 5 || len(kind) < 3 || kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		place := fields[4]
		options := slices.DeleteFunc(strings.Split(kind[2], ","), func(o string) bool { return o == "rw" || o == "ro" })
		if slices.Contains(options, "cpuset") || strings.Contains(g.enter, " "+place+"/") {
			continue
		}
		if kind[0] == "cgroup2" {
			g.unified = place
		} else {
			if strings.HasPrefix(options[len(options)-1], "name=") {
				options = append(options, "none")
			}
			g.hierarchies += filepath.Base(place) + " " + strings.Join(options, ",") + "\n"
		}
		dir := filepath.Join(place, fmt.Sprintf("weightfs-node-%d-%s", os.Getpid(), filepath.Base(tb.TempDir())))
		if err := os.Mkdir(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			rig.Await(tb, "the node's control groups are empty", func() bool { return removeGroups(dir) == nil })
		})
		g.enter += " " + dir
	}
	g.enter += `; do echo $$ >"$g/cgroup.procs" || exit 1; done; exec "$0" "$@"`
	return g
}

// removeGroups removes a group and those in it.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroups(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}
