package main

import (
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/prefetch"
)

// besides is what mountd needs beside the limit in a cgroup of its own, twice
// over: the pages of the readers in that cgroup are charged to it too.
const besides = 256 << 20

// promised is how much more than the limit mountd may take.
const promised = 128 << 20

// memoryLimit is the limit to work with where asked was asked for, 0 for the
// default. One that the cgroup has no room for is lowered, with a warning: the
// kernel would kill mountd, and with it every reader.
func memoryLimit(root fs.FS, asked int64, logger *slog.Logger) int64 {
	fitting := defaultMemoryLimit(root)
	if asked == 0 {
		return fitting
	}
	cgroup, ok := cgroupLimit(root)
	if !ok || asked <= cgroup-promised || asked <= fitting {
		return asked
	}
	logger.Warn("the memory limit is lowered to what the cgroup has room for",
		"memory_limit", cli.FormatSize(asked), "cgroup_limit", cli.FormatSize(cgroup), "lowered_to", cli.FormatSize(fitting))
	return fitting
}

// defaultMemoryLimit is the smaller of half of the machine's memory and the
// cgroup's limit less 256 MiB, and at least what a cache works with. root is
// the file system at /.
func defaultMemoryLimit(root fs.FS) int64 {
	limit := int64(prefetch.DefaultMemoryLimit)
	if total, ok := totalMemory(root); ok {
		limit = total / 2
	}
	if cgroup, ok := cgroupLimit(root); ok {
		limit = min(limit, cgroup-besides)
	}
	return max(limit, prefetch.MinMemoryLimit)
}

// totalMemory is the machine's memory in bytes.
func totalMemory(root fs.FS) (int64, bool) {
	meminfo, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(meminfo)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// cgroupLimit is the lowest memory limit of our cgroup and those above it, of
// version 1 or 2. In a container the path in /proc is often that of the host,
// and what is mounted is our own cgroup: every parent of the path is tried.
func cgroupLimit(root fs.FS) (int64, bool) {
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
