package cli

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// CgroupLimit is the lowest memory limit in bytes of our cgroup and those above
// it, of version 1 or 2, or false where there is none. root is the file system
// at /. In a container the path in /proc is often that of the host,
// and what is mounted is our own cgroup: every parent of the path is tried.
// (automemlimit goes by the table of mounts, and finds no limit there.)
func CgroupLimit(root fs.FS) (int64, bool) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	limit, found := int64(0), false
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		for _, name := range limitFiles(controllers, group) {
			n, ok := readLimit(root, name)
			if ok && (!found || n < limit) {
				limit, found = n, true
			}
		}
	}
	return limit, found
}

// limitFiles are the files that may hold a limit for a line of
// /proc/self/cgroup.
func limitFiles(controllers, group string) []string {
	var dirs []string
	var file string
	switch {
	case controllers == "":
		dirs, file = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}, "memory.max"
	case controllers == "memory":
		dirs, file = []string{"sys/fs/cgroup/memory"}, "memory.limit_in_bytes"
	}
	var files []string
	for _, dir := range dirs {
		for at := path.Clean("/" + group); ; at = path.Dir(at) {
			files = append(files, path.Join(dir, at, file))
			if at == "/" {
				break
			}
		}
	}
	return files
}

// readLimit reads a limit; "max" is none.
func readLimit(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
