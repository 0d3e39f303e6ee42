package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/pflag"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

// resolve resolves the tuning of a command line in an environment.
func resolve(args []string, environ ...string) (tuning, error) {
	a := newApp(environ, io.Discard, io.Discard)
	var f tuningFlags
	flags := pflag.NewFlagSet("load", pflag.ContinueOnError)
	f.register(flags)
	if err := flags.Parse(args); err != nil {
		return tuning{}, err
	}
	if err := cli.BindEnvironment(flags, a.env); err != nil {
		return tuning{}, err
	}
	return f.resolve(a, flags)
}

func TestPrecedence(t *testing.T) {
	const runai, ours, extra = "RUNAI_STREAMER_CONCURRENCY=2", "WEIGHTFS_CONCURRENCY=3", `--model-loader-extra-config={"concurrency":4}`
	for _, c := range []struct {
		args, environ []string
		want          int
	}{
		{nil, nil, 0},
		{nil, []string{runai}, 2},
		{nil, []string{runai, ours}, 3},
		{[]string{extra}, []string{runai, ours}, 4},
		{[]string{extra, "--concurrency=5"}, []string{runai, ours}, 5},
		{[]string{"--concurrency=5"}, []string{`WEIGHTFS_MODEL_LOADER_EXTRA_CONFIG={"concurrency":4}`}, 5},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.Concurrency != c.want {
			t.Errorf("%v %v: concurrency %d, %v; want %d", c.args, c.environ, got.options.Concurrency, err, c.want)
		}
	}
}

func TestMemoryLimitValues(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          int64
	}{
		{nil, nil, 0},
		{[]string{"--memory-limit=-1"}, nil, gpuload.MemoryUnlimited},
		{[]string{"--memory-limit=0"}, nil, gpuload.MemoryMinimum},
		{[]string{"--memory-limit=5Gi"}, nil, 5 << 30},
		{[]string{`--model-loader-extra-config={"memory_limit":5368709120}`}, nil, 5 << 30},
		{[]string{`--model-loader-extra-config={"memory_limit":0}`}, []string{"WEIGHTFS_MEMORY_LIMIT=1Gi"}, gpuload.MemoryMinimum},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=-1"}, gpuload.MemoryUnlimited},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=0"}, gpuload.MemoryMinimum},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=0", "WEIGHTFS_MEMORY_LIMIT=1G"}, 1e9},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT="}, 0},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.MemoryLimit != c.want {
			t.Errorf("%v %v: memory limit %d, %v; want %d", c.args, c.environ, got.options.MemoryLimit, err, c.want)
		}
	}
}

func TestPartSize(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          int64
	}{
		{nil, nil, 0},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=4194304"}, 4 << 20},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=1"}, 2 << 20}, // raised, as the streamer does
		{[]string{"--part-size=1Mi"}, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=4194304"}, 1 << 20},
	} {
		got, err := resolve(c.args, c.environ...)
		if err != nil || got.options.PartSize != c.want {
			t.Errorf("%v %v: part size %d, %v; want %d", c.args, c.environ, got.options.PartSize, err, c.want)
		}
	}
}

func TestRefusedSettings(t *testing.T) {
	extra := func(json string) []string { return []string{"--model-loader-extra-config=" + json} }
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"--concurrency=0"}, nil, "from 1 to"},
		{[]string{"--concurrency=many"}, nil, "many"},
		{[]string{"--memory-limit=-2"}, nil, "-2"},
		{[]string{"--part-size=0"}, nil, "at least 1 byte"},
		{nil, []string{"WEIGHTFS_PART_SIZE=0"}, "at least 1 byte"},
		{nil, []string{"WEIGHTFS_CONCURRENCY=x"}, "WEIGHTFS_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CONCURRENCY=0"}, "RUNAI_STREAMER_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CONCURRENCY=four"}, "RUNAI_STREAMER_CONCURRENCY"},
		{nil, []string{"RUNAI_STREAMER_CHUNK_BYTESIZE=0"}, "at least 1"},
		{nil, []string{"RUNAI_STREAMER_MEMORY_LIMIT=-2"}, "RUNAI_STREAMER_MEMORY_LIMIT"},
		{extra(`{"concurrency":0}`), nil, "concurrency is 0"},
		{extra(`{"concurrency":"4"}`), nil, "concurrency"},
		{extra(`{"memory_limit":-2}`), nil, "memory_limit is -2"},
		{extra(`{"pattern":"x"}`), nil, "{rank}"},
		{extra(`{"concurency":4}`), nil, `unknown key "concurency": known are concurrency, memory_limit, pattern, distributed`},
		{extra(`{"Concurrency":4}`), nil, `unknown key "Concurrency"`},
		{extra(`[4]`), nil, "not a JSON object"},
		{extra(`{} {}`), nil, "more than one"},
		{extra(`{`), nil, "not a JSON object"},
	} {
		if _, err := resolve(c.args, c.environ...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %v: %v, want %q", c.args, c.environ, err, c.want)
		}
	}
}

func TestNotices(t *testing.T) {
	got, err := resolve([]string{`--model-loader-extra-config={"distributed":true}`},
		"RUNAI_STREAMER_S3_UNSIGNED=1", "RUNAI_STREAMER_LOG_LEVEL=debug", "RUNAI_STREAMER_CONCURRENCY=4")
	want := []string{"RUNAI_STREAMER_LOG_LEVEL has no effect", distributedNotice}
	if err != nil || strings.Join(got.notices, "\n") != strings.Join(want, "\n") {
		t.Errorf("notices %q, %v; want %q", got.notices, err, want)
	}
}

func TestChooseDevice(t *testing.T) {
	const beside = "/opt/gpuload-cuda"
	works := func(string) error { return nil }
	broken := func(string) error { return errors.New("no driver") }
	interrupted := func(string) error { return context.Canceled }
	for _, c := range []struct {
		name, device string
		host         host
		want         choice
		err          string
	}{
		{"cpu", "cpu", host{gpu: true, cuda: true}, choice{reason: "asked for"}, ""},
		{"no GPU", "auto", host{binary: beside}, choice{reason: "no NVIDIA GPU found"}, ""},
		{"no binary", "auto", host{gpu: true}, choice{reason: "there is an NVIDIA GPU, but no gpuload-cuda beside this program or in PATH"}, ""},
		{"binary", "auto", host{gpu: true, binary: beside, probe: works}, choice{gpu: true, exec: beside, reason: "the first GPU"}, ""},
		{"in the binary", "auto", host{gpu: true, cuda: true, binary: beside}, choice{gpu: true, reason: "the first GPU"}, ""},
		{"by name", "cuda:3", host{gpu: true, binary: beside, probe: works}, choice{gpu: true, ordinal: 3, exec: beside, reason: "asked for"}, ""},
		{"by name, unseen", "cuda:3", host{binary: beside, probe: works}, choice{gpu: true, ordinal: 3, exec: beside, reason: "asked for"}, ""},
		{"no driver", "auto", host{gpu: true, binary: beside, probe: broken}, choice{reason: "there is an NVIDIA GPU, but no driver"}, ""},
		{"no driver, by name", "cuda:0", host{gpu: true, binary: beside, probe: broken}, choice{}, "device cuda:0: no driver"},
		{"no driver, nor asked for", "cpu", host{gpu: true, binary: beside, probe: broken}, choice{reason: "asked for"}, ""},
		{"interrupted", "auto", host{gpu: true, binary: beside, probe: interrupted}, choice{}, "canceled"},
		{"never falls back", "cuda:0", host{gpu: true}, choice{}, "gpuload-cuda is neither beside this program nor in PATH"},
		{"unknown", "tpu", host{}, choice{}, `"tpu"`},
		{"no number", "cuda:", host{}, choice{}, `"cuda:"`},
		{"negative", "cuda:-1", host{}, choice{}, `"cuda:-1"`},
	} {
		got, err := choose(c.device, c.host)
		if got != c.want || (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v; want %+v, %q", c.name, got, err, c.want, c.err)
		}
	}
}

// TestProbe holds that what the dynamic loader or the driver says of a binary
// becomes one line.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"works":      {"exit 0", ""},
		"no libcuda": {`echo "$0: error while loading shared libraries: libcuda.so.1: no such file" >&2; exit 127`, "does not run: error while loading shared libraries: libcuda.so.1: no such file"},
		"no driver":  {`echo first >&2; echo "gpuload-cuda: the NVIDIA driver does not start" >&2; exit 1`, "does not run: the NVIDIA driver does not start"},
		"on stdout":  {"echo Error in initialization; exit 1", "does not run: Error in initialization"},
		"silent":     {"exit 3", "does not run: exit status 3"},
	} {
		binary := filepath.Join(t.TempDir(), gpuBinary)
		if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := probe(t.Context(), binary, time.Minute)
		if want := binary + " " + c.want; (err == nil) != (c.want == "") || (err != nil && err.Error() != want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
}

// TestProbeIsBounded holds that a driver that hangs ends the probe, and so does
// the user. Without a bound it would hang for longer than any test.
func TestProbeIsBounded(t *testing.T) {
	binary := filepath.Join(t.TempDir(), gpuBinary)
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nexec sleep 3600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := probe(t.Context(), binary, 50*time.Millisecond)
	if want := binary + " does not run: the driver has not started in 50ms"; err == nil || err.Error() != want {
		t.Errorf("%v; want %q", err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := probe(ctx, binary, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want the end of the context", err)
	}
}

func TestCPUMemory(t *testing.T) {
	for text, want := range map[string]int64{"max": 0, "4294967296": 4<<30 - besideTensors, "536870912": 128 << 20, "1": 1} {
		root := fstest.MapFS{
			"proc/self/cgroup":             {Data: []byte("0::/pod\n")},
			"sys/fs/cgroup/memory.max":     {Data: []byte("max\n")},
			"sys/fs/cgroup/pod/memory.max": {Data: []byte(text + "\n")},
		}
		if got := cpuMemory(root); got != want {
			t.Errorf("limit %s: %d bytes, want %d", text, got, want)
		}
	}
	if got := cpuMemory(fstest.MapFS{}); got != 0 {
		t.Errorf("without cgroups: %d bytes, want 0", got)
	}
}
