package main

import (
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/monitor"
	"weightfs/prefetch"
)

// besides is what mountd needs beside the limit in a cgroup of its own, twice
// over: the pages of the readers in that cgroup are charged to it too.
const besides = 256 << 20

// promised is how much more than the limit mountd may take.
const promised = monitor.PromisedBeside

// memoryLimit is the limit to work with where asked was asked for, 0 for the
// default. One that the cgroup has no room for is lowered, with a warning: the
// kernel would kill mountd, and with it every reader.
func memoryLimit(root fs.FS, asked int64, logger *slog.Logger) int64 {
	fitting := defaultMemoryLimit(root)
	if asked == 0 {
		return fitting
	}
	cgroup, ok := cli.CgroupLimit(root)
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
	if cgroup, ok := cli.CgroupLimit(root); ok {
		limit = min(limit, cgroup-besides)
	}
	return max(limit, prefetch.MinMemoryLimit)
}

// totalMemory is the machine's memory in bytes. (prometheus/procfs reads the whole
// file, and panics at a line of one word.)
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
