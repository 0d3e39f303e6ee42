//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestNUMANode(t *testing.T) {
	root := fstest.MapFS{
		"sys/bus/pci/devices/0000:c1:00.0/numa_node": {Data: []byte("1\n")},
		"sys/bus/pci/devices/0000:01:00.0/numa_node": {Data: []byte("-1\n")},
		"sys/bus/pci/devices/0000:02:00.0/numa_node": {Data: []byte("\n")},
	}
	for address, want := range map[string]int{"0000:C1:00.0": 1, "0000:c1:00.0": 1, "0000:01:00.0": noNode, "0000:02:00.0": noNode, "0000:03:00.0": noNode} {
		if got := numaNode(root, address); got != want {
			t.Errorf("%s: node %d, want %d", address, got, want)
		}
	}
}

// TestStagingPrefersItsNode asks the kernel for the policy of a mapping. Where that
// forbids to set one, as in some containers, staging is to be had without.
func TestStagingPrefersItsNode(t *testing.T) {
	const size = 1 << 20
	for node, want := range map[int]string{0: "prefer(=[a-z]+)?:0", noNode: "default"} {
		b, err := mapPages(size, node)
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/numa_maps")
		if err != nil {
			t.Fatal(err)
		}
		if node != noNode && errors.Is(preferNode(b, node), unix.EPERM) {
			want = "default"
		}
		if line := regexp.MustCompile(fmt.Sprintf("(?m)^%x %s ", start(b), want)); !line.Match(maps) {
			t.Errorf("node %d: no %q in\n%s", node, line, maps)
		}
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	}
}
