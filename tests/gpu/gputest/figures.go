package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
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

// scenario is one way to the large checkpoint, for both programs.
type scenario struct {
	name   string
	source string   // for gpuload
	files  []string // for bareloop
	flags  []string // for bareloop
	least  float64  // of the bare loop's rate
}

// outcome is the medians of a scenario's runs.
type outcome struct {
	loader, loop        float64 // bytes per second
	open, first         float64 // seconds
	staging             int64   // the most of any run
	loaderRuns, loopRun []float64
}

// measureAll prints the table of figures and holds them to the promises.
func measureAll(ctx context.Context, r *rig, s *score) error {
	dir, uri := r.path("large"), "s3://"+bucket+"/large"
	if _, err := r.output(ctx, "mkcheckpoint", "--shards", "4", "--size", fmt.Sprint(r.size), dir); err != nil {
		return err
	}
	names, err := shards(dir)
	if err != nil {
		return err
	}
	if err := r.server.PutDir(ctx, bucket, "large/", dir); err != nil {
		return err
	}
	// Room for all of it, so that the daemon holds every block after one load.
	mounted, err := r.mount(ctx, uri, "--memory-limit", fmt.Sprint(r.size+r.size/4+256<<20))
	if err != nil {
		return err
	}
	scenarios := []scenario{
		{"local files, in the page cache", dir, under(dir, names), nil, leastOfLoop},
		{"mounted bucket, blocks held by mountd", mounted, under(mounted, names), []string{"--direct"}, leastOfLoop},
		{"straight from the bucket", uri, under(uri, names), []string{"--readers", "32"}, leastOfClient},
	}
	if err := inPageCache(under(dir, names)); err != nil {
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
		o.judge(s, sc)
		if i == 0 {
			local = o.loader
		}
	}
	others := r.others(ctx, under(dir, names))
	s.judgeLoadFile(local, others[0])
	r.print(rows, others)
	return nil
}

// measure runs both programs in turn, after one run of each that does not count.
func (r *rig) measure(ctx context.Context, sc scenario) (outcome, error) {
	var loader, loop, open, first []float64
	var o outcome
	for i := range r.runs + 1 {
		a, err := r.load(ctx, sc.source)
		if err != nil {
			return o, err
		}
		b, err := r.bareloop(ctx, sc.files, sc.flags...)
		if err != nil {
			return o, err
		}
		if i == 0 {
			continue
		}
		loader = append(loader, float64(a.Bytes)/a.Seconds)
		loop = append(loop, float64(b.Bytes)/b.Seconds)
		open, first = append(open, a.Phases.Open), append(first, a.Phases.FirstTensor)
		o.staging = max(o.staging, a.StagingPeakBytes)
	}
	o.loader, o.loop, o.open, o.first = median(loader), median(loop), median(open), median(first)
	o.loaderRuns, o.loopRun = loader, loop
	return o, nil
}

func (o outcome) row(name string) []string {
	return []string{
		name,
		fmt.Sprintf("%.1f", o.loader/1e9),
		fmt.Sprintf("%.1f", o.loop/1e9),
		fmt.Sprintf("%.2f", o.loader/o.loop),
		fmt.Sprintf("%.0f", o.open*1e3),
		fmt.Sprintf("%.0f", o.first*1e3),
		fmt.Sprintf("%d", o.staging>>20),
	}
}

// judge holds the figures to the promises.
func (o outcome) judge(s *score, sc scenario) {
	var slow, much error
	if o.loader < sc.least*o.loop {
		slow = fmt.Errorf("%.3g bytes/s, the bare loop has %.3g (runs %.3g and %.3g)", o.loader, o.loop, o.loaderRuns, o.loopRun)
	}
	if o.staging >= stagingCap {
		much = fmt.Errorf("%d bytes", o.staging)
	}
	s.add(fmt.Sprintf("%s: at least %.2f of the bare loop", sc.name, sc.least), slow)
	s.add(sc.name+": page-locked memory under 1 GiB", much)
}

func (r *rig) print(rows [][]string, others []other) {
	fmt.Printf("\n%s\n%.1f GiB of bf16 in four shards, medians of %d runs after one to warm up.\n\n%s",
		machine(), float64(r.size)/(1<<30), r.runs,
		table([]string{"from", "gpuload GB/s", "bare loop GB/s", "ratio", "open ms", "first tensor ms", "page-locked MiB"}, rows))
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
