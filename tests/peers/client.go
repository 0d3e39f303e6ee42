package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// client is a program that loads the whole object.
type client struct {
	name string
	// script is one of our Python scripts with its arguments, which says when it
	// is ready; nil is gpuload, whose start is part of what is timed.
	script []string
	// version and flags are what the table says of it.
	version func(ctx context.Context, l *lab) (string, error)
	flags   string
	env     []string
	// again is how what a load has left on this machine is loaded the next time;
	// nil where a load leaves nothing.
	again *client
}

// ready is what a script prints before it waits for the start.
const ready = "ready\n"

// result is what one sample came to.
type result struct {
	seconds float64
	loaded  int64 // bytes of tensors that the client says it has
	memory  int64 // the largest resident set of the client or the daemon, bytes
	cache   int64 // the most that the peer's files held, bytes
}

// load has a client load the object at a path, or at a URI of the store at
// endpoint.
func (l *lab) load(ctx context.Context, c client, source, endpoint string) (r result, err error) {
	args := []string{l.programs.Gpuload, "load", "--device", "cpu", "--json", source}
	if c.script != nil {
		script := filepath.Join(l.root, "tests", "peers", "python", c.script[0])
		args = slices.Concat([]string{l.programs.Python, script}, c.script[1:], []string{source})
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(append(l.environment(endpoint), "COPIES="+l.local), c.env...)
	cmd.WaitDelay = time.Second
	var said strings.Builder
	cmd.Stderr = &said
	if c.script != nil {
		r.seconds, r.loaded, err = timeFromReady(cmd)
	} else {
		r.seconds, r.loaded, err = timeWhole(cmd)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return r, cause // how it died of that is no news
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", c.name, err, lastLine(said.String()))
	}
	if r.loaded != l.tensors {
		return r, fmt.Errorf("%s: loaded %d bytes, not %d", c.name, r.loaded, l.tensors)
	}
	r.memory = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return r, nil
}

// timeWhole runs gpuload and returns how long that took, and the bytes of its
// report.
func timeWhole(cmd *exec.Cmd) (seconds float64, loaded int64, err error) {
	begin := time.Now()
	out, err := cmd.Output()
	seconds = time.Since(begin).Seconds()
	if err != nil {
		return seconds, 0, err
	}
	var report struct{ Bytes int64 }
	err = json.Unmarshal(out, &report)
	return seconds, report.Bytes, err
}

// timeFromReady runs cmd and returns the seconds from its start signal to its
// answer, which is the bytes that it has loaded.
func timeFromReady(cmd *exec.Cmd) (seconds float64, loaded int64, err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	out := bufio.NewReader(pipe)
	seconds, loaded, err = exchange(in, out)
	return seconds, loaded, errors.Join(err, cmd.Wait())
}

func exchange(in io.Writer, out *bufio.Reader) (seconds float64, loaded int64, err error) {
	if line, err := out.ReadString('\n'); err != nil || line != ready {
		return 0, 0, errors.Join(fmt.Errorf("said %q when it was to be ready", line), err)
	}
	begin := time.Now()
	if _, err := io.WriteString(in, "go\n"); err != nil {
		return 0, 0, err
	}
	_, err = fmt.Fscan(out, &loaded)
	return time.Since(begin).Seconds(), loaded, err
}

// strategy loads as vLLM does with that safetensors_load_strategy.
func strategy(name string) client {
	return client{name: "safetensors, " + name, script: []string{"load.py", name}}
}

func streamer() client {
	return client{
		name: "runai-model-streamer", script: []string{"streamer.py"}, version: pip("runai-model-streamer"),
		flags: "RUNAI_STREAMER_CONCURRENCY=16", env: []string{"RUNAI_STREAMER_CONCURRENCY=16"},
	}
}

// loaders are the clients that need no mount.
func loaders() []client {
	streaming := streamer()
	streaming.flags = "RUNAI_STREAMER_CONCURRENCY=32"
	copied := strategy("load_file")
	streaming.env = []string{"RUNAI_STREAMER_CONCURRENCY=32", "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0"}
	return []client{
		{name: "gpuload", version: ourVersion, flags: "defaults"},
		streaming,
		{
			name: "copy, then load_file", script: []string{"copy_then_load.py"}, version: pip("boto3"),
			flags: "max_concurrency=16, to a disk", again: &copied,
		},
	}
}

// pip finds the version of a Python package.
func pip(name string) func(context.Context, *lab) (string, error) {
	return func(ctx context.Context, l *lab) (string, error) {
		code := fmt.Sprintf("import importlib.metadata as m; print(m.version(%q))", name)
		return said(l.programs.Python, "-c", code)(ctx, l)
	}
}
