package workload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"weightfs/tests/lab"
)

// run runs a program to its end and returns what it printed.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	r, err := lab.Exec(exec.CommandContext(ctx, name, args...))
	return r.Output, err
}

// DD is dd with the given bs over the files, one after the other. Its start is
// timed too: a few milliseconds.
type DD struct {
	unprepared
	Paths []string
	Block int64
}

func (d *DD) run(ctx context.Context) (Result, error) {
	var result Result
	for _, path := range d.Paths {
		if _, err := run(ctx, "dd", "if="+path, "of=/dev/null", "bs="+strconv.FormatInt(d.Block, 10), "status=none"); err != nil {
			return result, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return result, err
		}
		result.Bytes += info.Size()
	}
	return result, nil
}

// Find is find with the size of every file below a folder. Items is the number
// of files, Bytes the sum of their sizes.
type Find struct {
	unprepared
	Dir string
}

func (f *Find) run(ctx context.Context) (Result, error) {
	out, err := run(ctx, "find", f.Dir, "-type", "f", "-printf", `%s\n`)
	if err != nil {
		return Result{}, err
	}
	var result Result
	for line := range bytes.Lines(out) {
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
		if err != nil {
			return result, fmt.Errorf("find printed %q: %w", line, err)
		}
		result.Items++
		result.Bytes += size
	}
	return result, nil
}

// Names reads the names of a folder and fails where they are not in order.
// Items is their number.
type Names struct {
	unprepared
	Dir string
}

func (n *Names) run(_ context.Context) (Result, error) {
	f, err := os.Open(n.Dir)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return Result{}, err
	}
	if !slices.IsSorted(names) {
		err = errors.New("the names are not in order")
	}
	return Result{Items: int64(len(names))}, err
}

// Fill is lab.Fill of the files. Items is how many pages it read.
type Fill struct {
	unprepared
	Paths []string
}

func (f *Fill) run(ctx context.Context) (result Result, err error) {
	for _, path := range f.Paths {
		n, err := lab.Fill(ctx, path)
		if result.Items += n; err != nil {
			return result, err
		}
	}
	return result, nil
}

// SafeOpen reads all tensors of the files, one after the other, by safetensors'
// safe_open in Python. Python's start and imports are not timed.
type SafeOpen struct {
	// Python is the interpreter, Script the file safe_open.py.
	Python, Script string
	Paths          []string

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (s *SafeOpen) prepare(ctx context.Context) error {
	s.cmd = exec.CommandContext(ctx, s.Python, append([]string{s.Script}, s.Paths...)...)
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.in, s.out = in, bufio.NewReader(out)
	if line, err := s.out.ReadString('\n'); err != nil || line != ready+"\n" {
		return errors.Join(fmt.Errorf("python said %q", line), err, s.cmd.Wait())
	}
	return nil
}

func (s *SafeOpen) run(context.Context) (result Result, err error) {
	if _, err := io.WriteString(s.in, "go\n"); err != nil {
		return result, err
	}
	_, err = fmt.Fscan(s.out, &result.Bytes)
	return result, errors.Join(err, s.cmd.Wait())
}

// Gpuload is a run of gpuload load --json, from exec to exit; Load is its report.
type Gpuload struct {
	unprepared
	Program string
	Args    []string
}

func (g *Gpuload) run(ctx context.Context) (Result, error) {
	load, err := lab.ExecLoad(exec.CommandContext(ctx, g.Program, append([]string{"load", "--json"}, g.Args...)...))
	return Result{Bytes: load.Bytes, Load: &load}, err
}

// Whole is another workload from exec to exit, in a child of the child: what it
// prepares is timed too, as everything of a program is.
type Whole struct {
	unprepared
	Kind string
	Spec json.RawMessage
}

// FromExecToExit is w with the clock of a program.
func FromExecToExit(w Workload) *Whole {
	spec, err := json.Marshal(w)
	if err != nil {
		panic(fmt.Sprintf("workload: %v", err)) // they are made to be sent
	}
	return &Whole{Kind: kindOf(w), Spec: spec}
}

func (w *Whole) run(ctx context.Context) (Result, error) {
	self, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	cmd := exec.CommandContext(ctx, self, childArgument, w.Kind, "", string(w.Spec))
	cmd.Stdin = strings.NewReader("go\n")
	r, err := lab.Exec(cmd)
	if err != nil {
		return Result{}, err
	}
	var report Report
	err = json.Unmarshal(bytes.TrimPrefix(r.Output, []byte(ready)), &report)
	return report.Result, err
}
