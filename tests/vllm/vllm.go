package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"weightfs/tests/lab"
)

// jobLimit bounds a job: it takes some seconds, on a busy machine a minute.
const jobLimit = 10 * time.Minute

// job is one for jobs.py.
type job struct {
	Do     string         `json:"do"`
	Format string         `json:"format,omitempty"`
	Path   string         `json:"path"`
	To     string         `json:"to,omitempty"`
	Extra  map[string]any `json:"extra,omitempty"`
	Ranks  int            `json:"ranks,omitempty"`
	Daemon int            `json:"daemon,omitempty"` // process whose CPU time is taken too
	Memory bool           `json:"memory,omitempty"` // what is loaded lies in memory before
	Touch  int64          `json:"touch,omitempty"`  // bytes that are touched and given back before
	// Settings are more of vLLM's.
	Settings map[string]any    `json:"settings,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
}

// answer is what became of a job.
type answer struct {
	Error string `json:"error"`
	sample
	result
}

// result is what must be the same, however the weights were loaded.
type result struct {
	Tokens   []int    `json:"tokens"`
	Logprobs []string `json:"logprobs"`
	Weights  []string `json:"weights"` // a digest for each rank
}

func (r result) equal(other result) bool {
	return slices.Equal(r.Tokens, other.Tokens) && slices.Equal(r.Logprobs, other.Logprobs) && slices.Equal(r.Weights, other.Weights)
}

// vllm is a running jobs.py.
type vllm struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	log string // file with what it says
}

func startVLLM(s *stage) (*vllm, error) {
	v := &vllm{cmd: s.command("python", s.script("jobs.py")), log: filepath.Join(s.Disk, "vllm.log")}
	log, err := os.Create(v.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	v.cmd.Stderr = log
	// As vLLM itself has it on two processors. Of several, each waits for the others for
	// long where the machine is busy.
	v.cmd.Env = append(v.cmd.Env, "OMP_NUM_THREADS=1")
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	v.out = bufio.NewScanner(out)
	return v, v.cmd.Start()
}

// do runs a job to its end. Where that takes too long, all are ended.
func (v *vllm) do(ctx context.Context, j job) (a answer, err error) {
	line, err := json.Marshal(j)
	if err != nil {
		return a, err
	}
	answered, err := lab.Within(ctx, jobLimit, func(ctx context.Context) (string, error) {
		defer context.AfterFunc(ctx, v.kill)()
		if _, err := v.in.Write(append(line, '\n')); err != nil {
			return "", err
		}
		if !v.out.Scan() {
			return "", errors.Join(errors.New("vLLM ended"), v.out.Err())
		}
		return v.out.Text(), nil
	})
	if err == nil {
		err = json.Unmarshal([]byte(answered), &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return a, fmt.Errorf("%s %s of %s: %w\n%s", j.Do, j.Format, j.Path, err, tail(v.said()))
	}
	return a, nil
}

// said is what vLLM has said.
func (v *vllm) said() string {
	text, err := os.ReadFile(v.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// tail is the end of a text.
func tail(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "")
}

// kill ends it, with all processes that it has started.
func (v *vllm) kill() { _ = syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL) }

// close ends it in order, once its last job is done.
func (v *vllm) close() error {
	err := v.in.Close()
	timer := time.AfterFunc(time.Minute, v.kill)
	defer timer.Stop()
	return errors.Join(err, v.cmd.Wait())
}
