package fs

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/moby/sys/mountinfo"
)

// mountEntry is one line of /proc/self/mountinfo.
type mountEntry struct {
	major, minor uint32
	dir          string
	fsType       string
	source       string
}

// device is how /sys/class/bdi calls the mount.
func (m mountEntry) device() string { return fmt.Sprintf("%d:%d", m.major, m.minor) }

// connection is how /sys/fs/fuse/connections calls a FUSE mount.
func (m mountEntry) connection() string {
	// As the kernel puts a dev_t together; the major of a FUSE mount is 0.
	return strconv.FormatUint(uint64(m.major)<<20|uint64(m.minor), 10)
}

// mountTable is the kernel's table of mounts.
const mountTable = "/proc/self/mountinfo"

// mountAt returns the topmost mount at the absolute path dir.
func mountAt(dir string) (mountEntry, bool, error) {
	table, err := os.Open(mountTable)
	if err != nil {
		return mountEntry{}, false, fmt.Errorf("find the mount at %s: %w", dir, err)
	}
	defer table.Close()
	return mountIn(table, dir)
}

// mountIn is mountAt in an open table, as it is now.
func mountIn(table *os.File, dir string) (mountEntry, bool, error) {
	entry, ok, err := findMount(io.NewSectionReader(table, 0, math.MaxInt64), dir)
	if err != nil {
		return mountEntry{}, false, fmt.Errorf("find the mount at %s: %w", dir, err)
	}
	return entry, ok, nil
}

// findMount is mountAt in the text of a mountinfo: the last line wins.
func findMount(table io.Reader, dir string) (found mountEntry, ok bool, err error) {
	info, err := lastMount(table, dir)
	if err != nil || info == nil {
		return mountEntry{}, false, err
	}
	return mountEntry{uint32(info.Major), uint32(info.Minor), info.Mountpoint, info.FSType, info.Source}, true, nil
}

// lastMount is the line of the topmost mount at dir; nil if there is none.
func lastMount(table io.Reader, dir string) (*mountinfo.Info, error) {
	infos, err := mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != dir, false })
	if err != nil || len(infos) == 0 {
		return nil, err
	}
	return infos[len(infos)-1], nil
}
