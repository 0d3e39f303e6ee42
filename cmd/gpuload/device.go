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

// driverLimit is how long a driver may take to start, or to be loaded. On a host
// with eight GPUs and no persistence mode that is some seconds.
const driverLimit = 30 * time.Second

// host is what the choice of a device depends on.
type host struct {
	gpu    bool   // there is an NVIDIA GPU
	cuda   bool   // this binary can use it
	binary string // path of gpuload-cuda, "" if it was not found
	// probe says why the binary cannot be run in place of this one. It is asked
	// only where the choice depends on it.
	probe func(binary string) error
}

// choice is a device: the CPU, or the GPU of that ordinal.
type choice struct {
	gpu     bool
	ordinal int
	auto    bool // the CPU will do where the GPU cannot be used
	// exec is the binary to run in place of this one, "" for none.
	exec string
	// reason says why, for the user.
	reason string
	// unused says that there is a GPU, and that it cannot be used.
	unused bool
}

// instead is the CPU in place of a GPU that cannot be used.
func instead(err error) choice {
	return choice{unused: true, reason: fmt.Sprintf("there is an NVIDIA GPU, but %v", err)}
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
		c.auto, c.ordinal, c.reason = true, 0, "the first GPU"
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
		return instead(err), nil
	}
	return c, nil
}

// versionPrefix is what --version prints before the version.
const versionPrefix = "gpuload version "

// probe runs the binary to see whether it can run here, and whether it is of this
// version. It does not start the driver. Where the dynamic loader finds no driver,
// it ends the process before it could choose another device, so that is found out
// in a child, which may hang past the limit.
func probe(ctx context.Context, binary string, limit time.Duration) error {
	said, err := outputWithin(ctx, limit, binary, "--version")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNoAnswer):
		return fmt.Errorf("%s does not run: no answer in %v", binary, limit)
	case err != nil:
		return fmt.Errorf("%s does not run: %w", binary, causeOf(said, binary, err))
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(said.stdout), versionPrefix)
	switch {
	case !ok:
		return fmt.Errorf("%s does not say its version", binary)
	case version != cli.Version():
		return fmt.Errorf("%s is of version %s and this program of %s: install the two of one version", binary, version, cli.Version())
	}
	return nil
}

// causeOf is the last line that a binary which failed said, or how it ended.
func causeOf(said output, binary string, err error) error {
	lines := strings.Split(strings.TrimSpace(said.stdout+said.stderr), "\n")
	cause := lines[len(lines)-1]
	for _, name := range []string{binary, gpuBinary} { // who says it
		cause = strings.TrimPrefix(cause, name+": ")
	}
	if cause == "" {
		return err
	}
	return errors.New(cause)
}

// errNoAnswer is the error of what has not ended within its limit.
var errNoAnswer = errors.New("no answer")

// output is what a command said.
type output struct{ stdout, stderr string }

// outputWithin runs a command to its end and returns what it said.
func outputWithin(ctx context.Context, limit time.Duration, name string, args ...string) (output, error) {
	return within(ctx, limit, func(ctx context.Context) (output, error) {
		var stdout, stderr strings.Builder
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil && ctx.Err() != nil { // killed for it
			err = context.Cause(ctx)
		}
		return output{stdout.String(), stderr.String()}, err
	}, func(output) {})
}

// within is the answer of f, unless that does not come within the limit, or ctx
// ends: it does not wait for f then, and what f answers in the end is dropped. A
// driver that hangs may hold its callers in the kernel, where nothing ends them.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error), drop func(T)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	ended := make(chan result)
	go func() {
		value, err := f(ctx)
		select {
		case ended <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				drop(value)
			}
		}
	}()
	select {
	case r := <-ended:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// thisHost looks for GPUs and for the binary that can use them. Probes end with
// ctx.
func thisHost(ctx context.Context) host {
	h := host{cuda: builtForCUDA, probe: func(binary string) error { return probe(ctx, binary, driverLimit) }}
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

// deviceConfig is how a device is to be opened.
type deviceConfig struct {
	near   bool // staging lies on the NUMA node of the GPU
	logger *slog.Logger
}

// open opens the chosen device, in this process. The choice that it returns is the
// device's: another one where a GPU that nobody asked for by name cannot be used.
func (c choice) open(ctx context.Context, cfg deviceConfig) (gpuload.Device, choice, error) {
	if !c.gpu {
		dev, err := openCPU()
		return dev, c, err
	}
	dev, err := openWithin(ctx, driverLimit, func() (gpuload.Device, error) { return openCUDA(c.ordinal, cfg) })
	if errors.Is(err, errNoAnswer) {
		err = fmt.Errorf("cuda:%d: the NVIDIA driver has not started in %v", c.ordinal, driverLimit)
	}
	if err == nil || !c.auto || ctx.Err() != nil {
		return dev, c, err
	}
	c = instead(err)
	dev, err = openCPU()
	return dev, c, err
}

// openWithin is the device that open opens, within the limit. One that comes too
// late is closed.
func openWithin(ctx context.Context, limit time.Duration, open func() (gpuload.Device, error)) (gpuload.Device, error) {
	return within(ctx, limit,
		func(context.Context) (gpuload.Device, error) { return open() },
		func(late gpuload.Device) { _ = late.Close() })
}

func openCPU() (gpuload.Device, error) {
	dev, err := gpuload.NewCPU(gpuload.CPUConfig{MemoryLimit: cpuMemory(os.DirFS("/"))})
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

// stagingLimit is the default limit of staging where the cgroup has a limit, half of
// that, or 0 for gpuload's own, which it may not exceed. root is the file system at /.
func stagingLimit(root fs.FS) int64 {
	limit, ok := cli.CgroupLimit(root)
	if !ok || limit/2 >= gpuload.DefaultMemoryLimit {
		return 0
	}
	return max(limit/2, 1<<20)
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

// deviceReady is how long it took until the device was ready: for a GPU longer than
// the opening, as its context is created while the load reads.
func (in *inputs) deviceReady() time.Duration {
	if d, ok := in.device.(interface{ ReadyAt() time.Time }); ok {
		return d.ReadyAt().Sub(in.began)
	}
	return in.driver
}

// pageLocked is the most memory that the device has page-locked, 0 for the CPU.
func (in *inputs) pageLocked() int64 {
	if d, ok := in.device.(interface{ PageLockedPeak() int64 }); ok {
		return d.PageLockedPeak()
	}
	return 0
}
