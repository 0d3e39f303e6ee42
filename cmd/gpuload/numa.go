package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// This file keeps a load near its GPU: staging and the processors of the readers
// are on the NUMA node that the GPU is attached to.

// registerNUMA adds --numa to flags.
func registerNUMA(flags *pflag.FlagSet, numa *string) {
	flags.StringVar(numa, "numa", "auto", "`auto|off`: auto takes staging memory from the NUMA node of the GPU, and runs on "+
		"its processors where they are enough for the readers, or half of those allowed; off leaves both to the kernel")
}

// parseNUMA checks the value of --numa.
func parseNUMA(text string) (near bool, err error) {
	switch text {
	case "auto":
		return true, nil
	case "off":
		return false, nil
	}
	return false, cli.Usagef("numa %q: want auto or off", text)
}

// runNear has this process run on the processors of dev's NUMA node, if it has
// one, where they are enough for so many readers. It is a preference: what is in
// its way is logged. root is the file system at /.
func runNear(root fs.FS, dev gpuload.Device, readers int, logger *slog.Logger) {
	if err := moveNear(root, dev, readers); err != nil {
		logger.Debug("the load may run far from the GPU", "error", err)
	}
}

func moveNear(root fs.FS, dev gpuload.Device, readers int) error {
	d, ok := dev.(interface{ NUMANode() int })
	if !ok || d.NUMANode() < 0 {
		return nil
	}
	text, err := fs.ReadFile(root, fmt.Sprintf("sys/devices/system/node/node%d/cpulist", d.NUMANode()))
	if err != nil {
		return err
	}
	node, err := parseProcessors(string(text))
	if err != nil {
		return err
	}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("processors of this process: %w", err)
	}
	if near, ok := nearProcessors(allowed, node, readers); ok {
		return runOn(near)
	}
	return nil
}

// nearProcessors are those of a node that are allowed, where they are fewer than
// all that are, and not so few that the distance would cost less.
func nearProcessors(allowed, node unix.CPUSet, readers int) (near unix.CPUSet, ok bool) {
	for i := range near {
		near[i] = allowed[i] & node[i]
	}
	n := near.Count()
	return near, n > 0 && n < allowed.Count() && (n >= readers || 2*n >= allowed.Count())
}

// parseProcessors reads a list of the kernel, "0-3,8". That of a node of memory
// alone is empty.
func parseProcessors(text string) (set unix.CPUSet, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return set, nil
	}
	for span := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(span, "-")
		if !ok {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, lastErr := strconv.Atoi(last)
		if err := errors.Join(err, lastErr); err != nil {
			return unix.CPUSet{}, fmt.Errorf("list of processors %q: %w", text, err)
		}
		for cpu := from; cpu <= to; cpu++ {
			set.Set(cpu)
		}
	}
	return set, nil
}

// runOn has every thread of this process run on these processors alone, and those
// that they start. A thread that was started meanwhile is met in the next turn.
func runOn(processors unix.CPUSet) error {
	done := map[string]bool{}
	for again := true; again; {
		again = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil || done[thread.Name()] {
				continue
			}
			if err := unix.SchedSetaffinity(id, &processors); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("processors of thread %d: %w", id, err)
			}
			done[thread.Name()], again = true, true
		}
	}
	return nil
}
