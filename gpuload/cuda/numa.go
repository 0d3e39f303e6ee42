//go:build cuda

package cuda

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// noNode stands for the node of a GPU where there is but one, or it is not known.
const noNode = -1

// numaNode is the NUMA node of the host that a GPU is attached to. root is the file
// system at /; an address is in lower case there, and may be in upper case in CUDA.
func numaNode(root fs.FS, pciBusID string) int {
	text, err := fs.ReadFile(root, path.Join("sys/bus/pci/devices", strings.ToLower(pciBusID), "numa_node"))
	if err != nil {
		return noNode
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || node < 0 {
		return noNode
	}
	return node
}

// start is the address of b.
func start(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// maxNodes is more than any kernel has.
const maxNodes = 1024

// preferNode has the pages of the mapping b come from a node, as long as it has
// free ones. Pages that are there already stay.
func preferNode(b []byte, node int) error {
	if node < 0 || node >= maxNodes {
		return fmt.Errorf("node %d: %w", node, unix.EINVAL)
	}
	var nodes [maxNodes / 64]uint64
	nodes[node/64] = 1 << (node % 64)
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, start(b), uintptr(len(b)), unix.MPOL_PREFERRED,
		uintptr(unsafe.Pointer(&nodes)), maxNodes+1, 0) // the kernel takes one bit less than it is told
	if errno != 0 {
		return errno
	}
	return nil
}
