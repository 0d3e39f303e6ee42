package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"weightfs/gpuload"
)

func set(t *testing.T, list string) unix.CPUSet {
	t.Helper()
	s, err := parseProcessors(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseProcessors(t *testing.T) {
	got := set(t, "0-2,8,62-65\n")
	for cpu := range 100 {
		if want := cpu <= 2 || cpu == 8 || (cpu >= 62 && cpu <= 65); got.IsSet(cpu) != want {
			t.Errorf("processor %d: %v", cpu, !want)
		}
	}
	if empty := set(t, "\n"); empty.Count() != 0 {
		t.Error("a node without processors has some")
	}
	for _, text := range []string{"a", "1-", "-1", "1,,2", "1-b"} {
		if _, err := parseProcessors(text); err == nil {
			t.Errorf("%q: want an error", text)
		}
	}
}

func TestNearProcessors(t *testing.T) {
	for _, c := range []struct {
		name, allowed, node string
		readers             int
		want                string // "" to stay
	}{
		{"two sockets", "0-63", "32-63", 16, "32-63"},
		{"enough of an eighth", "0-127", "0-15", 16, "0-15"},
		{"too few of an eighth", "0-127", "0-15", 32, ""},
		{"half of few", "0-3", "2-3", 16, "2-3"},
		{"of a container", "4-7,40-47", "32-63", 8, "40-47"},
		{"on another node", "0-31", "32-63", 16, ""},
		{"one node", "0-15", "0-15", 16, ""},
		{"a node of memory", "0-15", "", 1, ""},
	} {
		near, ok := nearProcessors(set(t, c.allowed), set(t, c.node), c.readers)
		if ok != (c.want != "") || (ok && near != set(t, c.want)) {
			t.Errorf("%s: %v, %d processors", c.name, ok, near.Count())
		}
	}
}

// nodeDevice is attached to a NUMA node.
type nodeDevice struct {
	gpuload.Device
	node int
}

func (d nodeDevice) NUMANode() int { return d.node }

// TestMoveNear holds that every thread goes to the node of the GPU, here one
// processor, and none where there is no such node.
func TestMoveNear(t *testing.T) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runOn(before); err != nil {
			t.Error(err)
		}
	})
	all := allowedLists(t)[0]
	first, _, _ := strings.Cut(strings.ReplaceAll(all, "-", ","), ",")
	root := fstest.MapFS{"sys/devices/system/node/node1/cpulist": {Data: []byte(first + "\n")}}
	for _, dev := range []gpuload.Device{nodeDevice{node: -1}, struct{ gpuload.Device }{}} {
		if err := moveNear(root, dev, 1); err != nil {
			t.Error(err)
		}
	}
	if err := moveNear(root, nodeDevice{node: 2}, 1); err == nil {
		t.Error("a node that is not there: want an error")
	}
	for _, list := range allowedLists(t) {
		if list != all {
			t.Errorf("a thread may run on %s, want %s", list, all)
		}
	}
	if err := moveNear(root, nodeDevice{node: 1}, 1); err != nil {
		t.Fatal(err)
	}
	for _, list := range allowedLists(t) {
		if list != first {
			t.Errorf("a thread may run on %s, want %s", list, first)
		}
	}
}

// allowedLists is what the kernel says of each thread.
func allowedLists(t *testing.T) (lists []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		_, rest, _ := strings.Cut(string(text), "Cpus_allowed_list:\t")
		list, _, _ := strings.Cut(rest, "\n")
		lists = append(lists, list)
	}
	return lists
}
