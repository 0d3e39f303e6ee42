package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"weightfs/cmd/cli"
	"weightfs/gpuload"
)

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
		{"binary", "auto", host{gpu: true, binary: beside, probe: works}, choice{gpu: true, auto: true, exec: beside, reason: "the first GPU"}, ""},
		{"in the binary", "auto", host{gpu: true, cuda: true, binary: beside}, choice{gpu: true, auto: true, reason: "the first GPU"}, ""},
		{"by name", "cuda:3", host{gpu: true, binary: beside, probe: works}, choice{gpu: true, ordinal: 3, exec: beside, reason: "asked for"}, ""},
		{"by name, unseen", "cuda:3", host{binary: beside, probe: works}, choice{gpu: true, ordinal: 3, exec: beside, reason: "asked for"}, ""},
		{"no driver", "auto", host{gpu: true, binary: beside, probe: broken}, choice{unused: true, reason: "there is an NVIDIA GPU, but no driver"}, ""},
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

// TestProbe holds that what the dynamic loader says of a binary becomes one line,
// and that a binary of another version is not run.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"works":           {`test "$*" = --version && echo notice >&2 && echo "gpuload version ` + cli.Version() + `"`, ""},
		"no libcuda":      {`echo "$0: error while loading shared libraries: libcuda.so.1: no such file" >&2; exit 127`, "does not run: error while loading shared libraries: libcuda.so.1: no such file"},
		"its own name":    {`echo first >&2; echo "gpuload-cuda: broken" >&2; exit 1`, "does not run: broken"},
		"on stdout":       {"echo Error in initialization; exit 1", "does not run: Error in initialization"},
		"silent":          {"exit 3", "does not run: exit status 3"},
		"another version": {"echo gpuload version v0.1.0", "is of version v0.1.0 and this program of " + cli.Version() + ": install the two of one version"},
		"no version":      {"echo hello", "does not say its version"},
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

// TestVersionIsWhatTheProbeReads holds the two ends of the comparison together.
func TestVersionIsWhatTheProbeReads(t *testing.T) {
	var out strings.Builder
	a := newApp(nil, &out, io.Discard)
	if code := cli.Execute(t.Context(), newRootCommand(a), []string{"--version"}, a.env, io.Discard); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if want := versionPrefix + cli.Version() + "\n"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

// TestProbeIsBounded holds that a binary that hangs ends the probe, and so does
// the user. Without a bound it would hang for longer than any test.
func TestProbeIsBounded(t *testing.T) {
	binary := filepath.Join(t.TempDir(), gpuBinary)
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nexec sleep 3600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := probe(t.Context(), binary, 50*time.Millisecond)
	if want := binary + " does not run: no answer in 50ms"; err == nil || err.Error() != want {
		t.Errorf("%v; want %q", err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := probe(ctx, binary, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want the end of the context", err)
	}
}

// TestOpenFallsBack holds that a GPU which cannot be used is replaced by the CPU,
// with the reason, unless it was asked for by name, and that a program that
// announces no device warns. Neither this program nor this machine has a GPU.
func TestOpenFallsBack(t *testing.T) {
	t.Setenv("CUDADRIVER_DEVICES", "0")
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	dev, got, err := choice{gpu: true, auto: true, reason: "the first GPU"}.open(t.Context(), deviceConfig{logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if dev.Name() != "cpu" || got.gpu || !strings.HasPrefix(got.reason, "there is an NVIDIA GPU, but ") || !strings.Contains(got.reason, "cuda:0") {
		t.Errorf("%s, %+v", dev.Name(), got)
	}
	got.warn(logger)
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), got.reason) {
		t.Errorf("the log is %q, want the reason", &log)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := (choice{gpu: true, ordinal: 1}).open(t.Context(), deviceConfig{logger: logger}); err == nil || !strings.Contains(err.Error(), "cuda:1") {
		t.Errorf("asked for by name: %v, want an error", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := (choice{gpu: true, auto: true}).open(cancelled, deviceConfig{logger: logger}); err == nil {
		t.Error("a cancelled load goes on with the CPU")
	}
}

// TestLateDeviceIsClosed holds that a driver that hangs ends the opening, and that
// the device it opens in the end is closed.
func TestLateDeviceIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan time.Time, 1)
		start := time.Now()
		_, err := openWithin(t.Context(), time.Minute, func() (gpuload.Device, error) {
			time.Sleep(time.Hour)
			return lateDevice{closed: closed}, nil
		})
		if took := time.Since(start); !errors.Is(err, errNoAnswer) || took != time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		if took := (<-closed).Sub(start); took != time.Hour {
			t.Errorf("closed after %v", took)
		}
	})
}

type lateDevice struct {
	gpuload.Device
	closed chan time.Time
}

func (d lateDevice) Close() error {
	d.closed <- time.Now()
	return nil
}

func TestStagingLimit(t *testing.T) {
	for text, want := range map[string]int64{"max": 0, "1000000000000": 0, "8589934592": 4 << 30, "1048576": 1 << 20} {
		root := fstest.MapFS{
			"proc/self/cgroup":         {Data: []byte("0::/\n")},
			"sys/fs/cgroup/memory.max": {Data: []byte(text + "\n")},
		}
		for asked, want := range map[int64]int64{0: want, 1 << 30: 1 << 30, gpuload.MemoryUnlimited: gpuload.MemoryUnlimited} {
			tuned := tuning{options: gpuload.Options{MemoryLimit: asked}}
			if tuned.fit(root); tuned.options.MemoryLimit != want {
				t.Errorf("limit %s, asked for %d: %d, want %d", text, asked, tuned.options.MemoryLimit, want)
			}
		}
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
