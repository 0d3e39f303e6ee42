package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// What is promised of a load onto a GPU.
const (
	// The loader against the bare loop over the same source, in one run: over
	// files, and over the store.
	leastOfLoop, leastOfClient = 0.85, 0.90
	// leastOfLoadFile is the loader over local files against safetensors' own.
	leastOfLoadFile = 5
	// stagingCap is page-locked memory under the default limits.
	stagingCap = 1 << 30
)

// measureAll prints the table of figures and holds them to the promises.
func measureAll(ctx context.Context, r *lab, s *score) error {
	dir := r.path("large")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if _, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Shards: 4, Size: r.size}); err != nil {
		return err
	}
	scenarios, err := r.scenarios(ctx, dir, "s3://"+bucket+"/large")
	if err != nil {
		return err
	}
	var rows [][]string
	var local float64
	for i, sc := range scenarios {
		o, err := r.measure(ctx, sc)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		rows = append(rows, o.row(sc.name))
		o.judge(s, sc, r.device != "cpu")
		if i == 0 {
			local = o.loader
		}
	}
	others := r.others(ctx, scenarios[0].files)
	s.judgeLoadFile(local, others[0])
	r.print(rows, others)
	return nil
}

// measure runs both programs in turn, after one run of each that does not count.
func (r *lab) measure(ctx context.Context, sc scenario) (outcome, error) {
	var loads, loops []report
	for i := range r.runs + 1 {
		if i > 0 {
			if err := sc.holds(ctx); err != nil {
				return outcome{}, err
			}
		}
		load, err := r.load(ctx, sc.source)
		if err != nil {
			return outcome{}, err
		}
		loop, err := r.bareloop(ctx, sc.files, sc.flags...)
		if err != nil {
			return outcome{}, err
		}
		if i > 0 {
			loads, loops = append(loads, load), append(loops, loop)
		}
	}
	return newOutcome(loads, loops), sc.holds(ctx)
}

func (r *lab) print(rows [][]string, others []other) {
	fmt.Printf("\n%s\n%.1f GiB of bf16 in four shards, medians of %d runs after one to warm up. "+
		"Rates begin when the device is ready; times and sums begin when it is opened. "+
		"The bare loop opens the device, page-locks and copies one after the other.\n\n%s",
		machine(), float64(r.size)/(1<<30), r.runs, table(columns(), rows))
	var beside [][]string
	for _, o := range others {
		beside = append(beside, o.row())
	}
	fmt.Printf("\nThe same local files, onto %s, by others:\n\n%s", r.device, table([]string{"loader", "version", "GB/s"}, beside))
}

// machine is a line about this one.
func machine() string {
	var uts unix.Utsname
	kernel := "unknown"
	if err := unix.Uname(&uts); err == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	driver, err := os.ReadFile("/proc/driver/nvidia/version")
	if errors.Is(err, os.ErrNotExist) {
		driver = []byte("no NVIDIA driver")
	}
	first, _, _ := strings.Cut(string(driver), "\n")
	return fmt.Sprintf("%d cores, Linux %s, %s.", runtime.NumCPU(), kernel, first)
}
