package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"weightfs/tests/lab"
)

// step is a part of a run. It has its time; one that takes longer, or cannot be
// done, is a line that says so, and gives way to the next.
type step struct {
	name   string
	budget time.Duration
	run    func(ctx context.Context, r *suite, s *report) error
}

// steps are those of a run, what is worth most first.
func steps(r *suite) []step {
	all := []step{
		{"the machine", 10 * time.Second, tellMachine},
		{"the device's own tests", 60 * time.Second, testDevice},
	}
	if r.figures {
		all = append(all, step{"a large checkpoint", 60 * time.Second, writeLarge}, step{"the bus", 30 * time.Second, measureBus})
		for _, sc := range r.scenarios() {
			all = append(all, step{sc.name, 60 * time.Second, sc.run})
		}
		all = append(all, step{"held blocks, in place", 45 * time.Second, measureInPlace},
			step{"held blocks, by the torch client", 45 * time.Second, measureTorch},
			step{"held blocks, by eight processes", 45 * time.Second, measureProcesses})
		for _, name := range otherLoaders {
			all = append(all, step{name, 45 * time.Second, func(ctx context.Context, r *suite, s *report) error { return r.beside(ctx, s, name) }})
		}
	}
	return append(all,
		step{"what is hard to load right", 150 * time.Second, checkAll},
		step{"what must fail", 60 * time.Second, checkFailures},
	)
}

// runSteps runs them within that time in all.
func runSteps(ctx context.Context, r *suite, s *report, all []step, total time.Duration) error {
	end := time.Now().Add(total)
	for _, st := range all {
		budget := min(st.budget, time.Until(end))
		if budget <= 0 {
			s.skip(st.name, fmt.Sprintf("the %v of all steps are over", total))
			continue
		}
		s.say("\n## %s\n\n", st.name)
		_, err := lab.Within(ctx, budget, func(ctx context.Context) (struct{}, error) { return struct{}{}, st.run(ctx, r, s) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			s.skip(st.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return nil
}

// tellMachine prints what there is of the host and the GPU.
func tellMachine(ctx context.Context, _ *suite, s *report) error {
	driver, err := os.ReadFile("/proc/driver/nvidia/version")
	if err != nil {
		driver = []byte("no NVIDIA driver")
	}
	first, _, _ := strings.Cut(string(driver), "\n")
	s.say("%s, %s.\n", lab.Machine(time.Now()), first)
	for _, args := range [][]string{
		{"--query-gpu=name,memory.total,driver_version,pcie.link.gen.current,pcie.link.gen.max,pcie.link.width.current", "--format=csv"},
		{"topo", "-m"},
	} {
		out, err := lab.Exec(exec.CommandContext(ctx, "nvidia-smi", args...))
		if err != nil {
			return err
		}
		s.say("\n```\n%s\n```\n", strings.TrimSpace(string(out.Output)))
	}
	return nil
}

// testDevice runs the device's own tests.
func testDevice(ctx context.Context, r *suite, s *report) error {
	if r.device == "cpu" {
		return fmt.Errorf("the device is the CPU")
	}
	_, err := r.output(ctx, "cuda.test", "-test.count=1")
	s.add("the device's own tests", err)
	return nil
}
