package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// program loads the whole object, from a path or from the store.
type program struct {
	name string
	// args are the command up to the source. "--manifest FILE" before the source
	// has it write what it has loaded.
	args func(c *comparison) []string
	// ways are settings of its environment, the best of which counts; nil is none.
	ways []string
	// env is of every way.
	env []string
	// version is what the table says of one that needs no mount.
	version func(context.Context, *comparison) (string, error)
	// unread says that it is dd, which keeps nothing: the program itself compares.
	unread bool
	// pattern says that it is one of those that advice is given for, which are
	// also measured on a local file; ours that it reads no mount but weightfs; and
	// over that it also reads objects larger than a limit.
	pattern, ours, over bool
}

// readers are what reads mounts.
func readers() []program {
	lazy, eager, prefetch := python("safetensors, lazy", "lazy"), python("safetensors, eager", "eager"), python("safetensors, prefetch", "prefetch")
	loadFile, gpuload := python("safetensors, load_file", "load_file"), program{name: "gpuload", args: gpuloadArgs, pattern: true}
	loadFile.over = true
	for _, p := range []*program{&lazy, &eager, &prefetch, &gpuload} {
		p.ours = true
	}
	streamer := python("runai-model-streamer", "stream")
	for _, engine := range []string{"sync_buffered", "io_uring_buffered", "io_uring_direct", "libaio_direct"} {
		streamer.ways = append(streamer.ways, "RUNAI_STREAMER_FS_STRATEGY="+engine)
	}
	one := dd("dd bs=1M", 1, "1M")
	one.over = true
	return []program{one, dd("16 readers of one file", 16, "2M"), loadFile, lazy, eager, prefetch, streamer, gpuload}
}

// loaders are what needs no mount.
func loaders() []program {
	streamer := python("runai-model-streamer", "stream")
	streamer.version, streamer.env = pip("runai-model-streamer"), []string{"RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING=0"}
	for _, n := range []string{"32", "16", "8"} {
		streamer.ways = append(streamer.ways, "RUNAI_STREAMER_CONCURRENCY="+n)
	}
	copied := python("copy to a disk, then load_file", "copy")
	copied.version = pip("boto3")
	return []program{{name: "gpuload", args: gpuloadArgs, version: ourVersion}, streamer, copied}
}

func gpuloadArgs(c *comparison) []string {
	return []string{c.Gpuload, "load", "--device", "cpu", "--json"}
}

func python(name, way string) program {
	return program{name: name, pattern: true, args: func(c *comparison) []string {
		return []string{c.Python, c.script("load.py"), way}
	}}
}

// dd is n of it at once.
func dd(name string, n int, block string) program {
	return program{name: name, unread: true, args: func(c *comparison) []string {
		return []string{c.script("dd.sh"), strconv.Itoa(n), block, strconv.FormatInt(c.size, 10)}
	}}
}

func (c *comparison) script(name string) string {
	return filepath.Join(c.Root, "tests", "peers", "readers", name)
}

// load runs a program once, from exec to exit. checked has every byte compared.
func (c *comparison) load(ctx context.Context, p program, way, source, endpoint string, checked bool) (r lab.Run, err error) {
	args, env := p.args(c), c.environment(endpoint)
	manifest := filepath.Join(c.Disk, "manifest")
	if checked && p.unread {
		env = append(env, "COMPARE="+c.copied)
	} else if checked {
		args = append(args, "--manifest", manifest)
	}
	args = append(args, source)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = slices.Concat(env, p.env, strings.Fields(way))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if r, err = lab.Exec(cmd); err != nil || p.unread {
		return r, err
	}
	if checked {
		return r, c.compare(manifest)
	}
	return r, c.countBytes(r.Output)
}

// countBytes checks the bytes that a program says it has loaded: one that loads
// less than there is must not count as a fast one.
func (c *comparison) countBytes(said []byte) error {
	var report struct{ Bytes int64 }
	if json.Unmarshal(said, &report.Bytes) != nil {
		if err := json.Unmarshal(said, &report); err != nil {
			return fmt.Errorf("it says %q: %w", said, err)
		}
	}
	if report.Bytes != c.bytes {
		return fmt.Errorf("loaded %d bytes, not %d", report.Bytes, c.bytes)
	}
	return nil
}

// compare compares what a program has loaded with what there is.
func (c *comparison) compare(manifest string) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	got, err := rig.ParseManifest(string(text))
	if err != nil {
		return err
	}
	if len(got) != len(c.tensors) {
		return fmt.Errorf("%d tensors, not %d", len(got), len(c.tensors))
	}
	for name, want := range c.tensors {
		if got[name].Digest != want.Digest || got[name].Nbytes != want.Nbytes {
			return fmt.Errorf("tensor %q is other bytes than the object's", name)
		}
	}
	return nil
}

// pythonStart is how long it takes to start and end an interpreter that does
// nothing but import modules, in seconds.
func (c *comparison) pythonStart(ctx context.Context, modules string) (float64, error) {
	var took []float64
	for range 5 {
		r, err := lab.Exec(exec.CommandContext(ctx, c.Python, "-c", "import "+modules))
		if err != nil {
			return 0, err
		}
		took = append(took, r.Seconds)
	}
	return lab.Median(took), nil
}

// pip finds the version of a Python package.
func pip(name string) func(context.Context, *comparison) (string, error) {
	return func(ctx context.Context, c *comparison) (string, error) {
		code := fmt.Sprintf("import importlib.metadata as m; print(m.version(%q))", name)
		return version(ctx, c.Python, "-c", code)
	}
}
