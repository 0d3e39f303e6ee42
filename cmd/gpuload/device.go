package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// gpuBinary is this command built for GPUs.
const gpuBinary = "gpuload-cuda"

// probeLimit is how long a driver may take to start. On a host with eight GPUs
// and no persistence mode that is some seconds.
const probeLimit = 30 * time.Second

// host is what the choice of a device depends on.
type host struct {
	gpu    bool   // there is an NVIDIA GPU
	cuda   bool   // this binary can use it
	binary string // path of gpuload-cuda, "" if it was not found
	// probe says why the binary cannot run here. It is asked only where the
	// choice depends on it: it starts the driver, in a process of its own.
	probe func(binary string) error
}

// choice is a device: the CPU, or the GPU of that ordinal.
type choice struct {
	gpu     bool
	ordinal int
	// exec is the binary to run in place of this one, "" for none.
	exec string
	// reason says why, for the user.
	reason string
}

// registerDevice adds --device to flags.
func registerDevice(flags *pflag.FlagSet, device *string) {
	flags.StringVar(device, "device", "auto", "where tensors go: `auto|cpu|cuda:N`. auto is the first GPU where there is one that can be used, "+
		"and the CPU otherwise, and the first line says which; cuda:N never falls back")
}

// parseDevice checks the value of --device: auto, cpu or cuda:N. The ordinal is
// -1 for the first two.
func parseDevice(name string) (ordinal int, err error) {
	if name == "auto" || name == "cpu" {
		return -1, nil
	}
	number, ok := strings.CutPrefix(name, "cuda:")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 {
		return 0, cli.Usagef("device %q: want auto, cpu or cuda:N", name)
	}
	return n, nil
}

// choose decides where a load goes. A GPU that was asked for by name is never
// replaced by the CPU, and one that was not is where it cannot be used.
func choose(device string, h host) (choice, error) {
	ordinal, err := parseDevice(device)
	if err != nil {
		return choice{}, err
	}
	usable := h.cuda || h.binary != ""
	switch {
	case device == "cpu":
		return choice{reason: "asked for"}, nil
	case device != "auto" && !usable:
		return choice{}, fmt.Errorf("device %s: %s is neither beside this program nor in PATH: install it, or use --device cpu",
			device, gpuBinary)
	case device == "auto" && !h.gpu:
		return choice{reason: "no NVIDIA GPU found"}, nil
	case device == "auto" && !usable:
		return choice{reason: "there is an NVIDIA GPU, but no " + gpuBinary + " beside this program or in PATH"}, nil
	}
	c := choice{gpu: true, ordinal: ordinal, reason: "asked for"}
	if device == "auto" {
		c.ordinal, c.reason = 0, "the first GPU"
	}
	if h.cuda {
		return c, nil
	}
	c.exec = h.binary
	switch err := h.probe(h.binary); {
	case errors.Is(err, context.Canceled):
		return choice{}, err
	case err != nil && device != "auto":
		return choice{}, fmt.Errorf("device %s: %w", device, err)
	case err != nil:
		return choice{reason: fmt.Sprintf("there is an NVIDIA GPU, but %v", err)}, nil
	}
	return c, nil
}

// probe runs the binary to see whether the driver starts for it. Where that
// fails, the dynamic loader or the driver's package ends the process before it
// could choose another device, so that is found out in a child, which a driver
// that hangs may keep past the limit.
func probe(ctx context.Context, binary string, limit time.Duration) error {
	said, err := startsWithin(ctx, binary, limit)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNoAnswer):
		return fmt.Errorf("%s does not run: the driver has not started in %v", binary, limit)
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	cause := lines[len(lines)-1]
	for _, name := range []string{binary, gpuBinary} { // who says it
		cause = strings.TrimPrefix(cause, name+": ")
	}
	if cause == "" {
		return fmt.Errorf("%s does not run: %w", binary, err)
	}
	return fmt.Errorf("%s does not run: %s", binary, cause)
}

// errNoAnswer is startsWithin's for a child that was still running at the end.
var errNoAnswer = errors.New("no answer")

// startsWithin runs the binary to its end and returns what it said. It does not
// wait for a child that does not end when killed: a driver that hangs may hold
// its callers in the kernel.
func startsWithin(ctx context.Context, binary string, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	type result struct {
		said []byte
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		said, err := exec.CommandContext(ctx, binary, "--help").CombinedOutput()
		ended <- result{said, err}
	}()
	select {
	case r := <-ended:
		if r.err != nil && ctx.Err() != nil { // killed for it
			return r.said, context.Cause(ctx)
		}
		return r.said, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// thisHost looks for GPUs and for the binary that can use them. Probes end with
// ctx.
func thisHost(ctx context.Context) host {
	h := host{cuda: builtForCUDA, probe: func(binary string) error { return probe(ctx, binary, probeLimit) }}
	// A container sees only the devices it was given, not always the first.
	nodes, err := filepath.Glob("/dev/nvidia[0-9]*")
	h.gpu = err == nil && len(nodes) > 0
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), gpuBinary)
		if path, err := exec.LookPath(beside); err == nil {
			h.binary = path
			return h
		}
	}
	if path, err := exec.LookPath(gpuBinary); err == nil {
		h.binary = path
	}
	return h
}

// open opens the chosen device, in this process; shareable if other processes
// are to map its memory.
func (c choice) open(shareable bool, logger *slog.Logger) (gpuload.Device, error) {
	if c.gpu {
		return openCUDA(c.ordinal, logger)
	}
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{Shareable: shareable, MemoryLimit: cpuMemory(os.DirFS("/"))})
	if err != nil {
		return nil, err // not dev: a nil *gpuload.CPU is no nil gpuload.Device
	}
	return dev, nil
}

// besideTensors is what a load to the CPU takes in a cgroup beside the tensors:
// the default staging from S3, and what a Go program takes.
const besideTensors = 512 << 20

// cpuMemory is how much memory of a CPU device the cgroup has room for, or 0 where
// it has no limit: the kernel would kill a load that takes more. A small cgroup
// has room for a small model, whose staging is no larger than itself. root is the
// file system at /.
func cpuMemory(root fs.FS) int64 {
	limit, ok := cli.CgroupLimit(root)
	if !ok {
		return 0
	}
	return max(limit-besideTensors, limit/4, 1)
}

// replace becomes the other binary, where that is needed: it returns only where
// it is not, or cannot be done.
func (c choice) replace() error {
	if c.exec == "" {
		return nil
	}
	args := append([]string{c.exec}, os.Args[1:]...)
	if err := syscall.Exec(c.exec, args, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", c.exec, err)
	}
	return errors.New("exec returned")
}

// deviceReady is how long it took until the device was, from the beginning of
// the opening: for a GPU longer than the opening, as its context is created while
// the load reads.
func (in *inputs) deviceReady() time.Duration {
	if d, ok := in.device.(interface{ ReadyAt() time.Time }); ok {
		return d.ReadyAt().Sub(in.began)
	}
	return in.opening
}

// pageLocked is the most memory that the device has page-locked, 0 for the CPU.
func (in *inputs) pageLocked() int64 {
	if d, ok := in.device.(interface{ PageLockedPeak() int64 }); ok {
		return d.PageLockedPeak()
	}
	return 0
}
