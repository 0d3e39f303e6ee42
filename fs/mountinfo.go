package fs

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
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
	data, err := io.ReadAll(io.NewSectionReader(table, 0, math.MaxInt64))
	if err != nil {
		return mountEntry{}, false, fmt.Errorf("find the mount at %s: %w", dir, err)
	}
	entry, ok := findMount(data, dir)
	return entry, ok, nil
}

// findMount is mountAt in the text of a mountinfo: the last line wins.
func findMount(mountinfo []byte, dir string) (found mountEntry, ok bool) {
	for line := range strings.Lines(string(mountinfo)) {
		if entry, valid := parseMountLine(line); valid && entry.dir == dir {
			found, ok = entry, true
		}
	}
	return found, ok
}

// parseMountLine reads a line such as
//
//	36 35 0:42 / /mnt rw,noatime master:1 - fuse.weightfs s3://bucket rw
//
// with any number of fields before the dash.
func parseMountLine(line string) (mountEntry, bool) {
	mount, fsys, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(mount), strings.Fields(fsys)
	if !ok || len(left) < 6 || len(right) < 2 {
		return mountEntry{}, false
	}
	major, minor, _ := strings.Cut(left[2], ":")
	majorNumber, errMajor := strconv.ParseUint(major, 10, 32)
	minorNumber, errMinor := strconv.ParseUint(minor, 10, 32)
	if errMajor != nil || errMinor != nil {
		return mountEntry{}, false
	}
	return mountEntry{
		major:  uint32(majorNumber),
		minor:  uint32(minorNumber),
		dir:    unescapeOctal(left[4]),
		fsType: unescapeOctal(right[0]),
		source: unescapeOctal(right[1]),
	}, true
}

// unescapeOctal undoes the kernel's \040 for blanks and backslashes.
func unescapeOctal(s string) string {
	if !strings.ContainsRune(s, '\\') {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
