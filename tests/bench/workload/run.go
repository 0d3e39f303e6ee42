package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"weightfs/tests/rig"
)

// Options say how children run.
type Options struct {
	// Env are more variables.
	Env []string
	// Cgroup is the folder of a control group for the children, or "".
	Cgroup string
	// First is done by a child of its own, outside the Cgroup, between the others'
	// preparation and their begin; it is prepared before they are. Its report is
	// not returned. nil is none.
	First Workload
}

// Run does all workloads at once, each in a child, and returns their reports in
// that order. All begin when the last one is prepared. When ctx ends, the
// children are killed.
func Run(ctx context.Context, opts Options, workloads ...Workload) (reports []Report, err error) {
	var runners []*runner
	defer func() {
		for _, r := range runners {
			err = errors.Join(err, r.close())
		}
	}()
	prepare := func(opts Options, w ...Workload) (prepared []*runner, err error) {
		for _, w := range w {
			r, err := start(ctx, opts, w)
			if err != nil {
				return nil, err
			}
			runners, prepared = append(runners, r), append(prepared, r)
		}
		for _, r := range prepared {
			if line, err := r.stdout.ReadString('\n'); err != nil || line != ready+"\n" {
				return nil, r.failure(ctx, "prepare")
			}
		}
		return prepared, nil
	}
	var first []*runner
	if opts.First != nil {
		if first, err = prepare(Options{Env: opts.Env}, opts.First); err != nil {
			return nil, err
		}
	}
	all, err := prepare(opts, workloads...)
	if err != nil {
		return nil, err
	}
	if _, err := finish(ctx, first); err != nil {
		return nil, err
	}
	return finish(ctx, all)
}

// finish has prepared children do their work at once, and returns their reports.
func finish(ctx context.Context, runners []*runner) (reports []Report, err error) {
	for _, r := range runners {
		if _, err := io.WriteString(r.stdin, "go\n"); err != nil {
			return nil, r.failure(ctx, "start")
		}
	}
	for _, r := range runners {
		var report Report
		if err := json.NewDecoder(r.stdout).Decode(&report); err != nil {
			return nil, r.failure(ctx, "work")
		}
		reports = append(reports, report)
	}
	return reports, nil
}

// runner is a running child.
type runner struct {
	kind   string
	proc   *rig.Process
	stdin  *os.File
	stdout *bufio.Reader
	pipe   *os.File // under stdout
	stop   func() bool
}

func start(ctx context.Context, opts Options, w Workload) (_ *runner, err error) {
	spec, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, childArgument, kindOf(w), opts.Cgroup, string(spec))
	cmd.Env = append(os.Environ(), opts.Env...)
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer childOut.Close()
	cmd.Stdin, cmd.Stdout = childIn, childOut
	proc, err := rig.StartProcess(cmd)
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	r := &runner{kind: kindOf(w), proc: proc, stdin: in, stdout: bufio.NewReader(out), pipe: out}
	r.stop = context.AfterFunc(ctx, func() { proc.Kill() })
	return r, nil
}

// failure says why a child did not do what it should, which is why it ended.
func (r *runner) failure(ctx context.Context, what string) error {
	killed := r.proc.Kill()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(fmt.Errorf("reader %s: %s: %s", r.kind, what, strings.TrimSpace(r.proc.Output())), killed)
}

func (r *runner) close() error {
	r.stop()
	return errors.Join(r.proc.Kill(), r.stdin.Close(), r.pipe.Close())
}
