package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestBench(t *testing.T) {
	dir := smallModel(t)
	plot := filepath.Join(t.TempDir(), "plot.svg")
	code, stdout, stderr := gpuloadCommand(t, "bench", "--device=cpu", "--sweep=1,2", "--store", dir, "--plot", plot, dir)
	if code != 0 ||
		!strings.Contains(stderr, "measuring "+dir+", 1.2 kB, onto cpu") ||
		!strings.Contains(stderr, "): concurrency [1 2], parts of 8MiB, memory limit 40GB\n") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{
		"CONCURRENCY", "\n1 ", "\n2 ", "\nsource ", "\nstore ", "\nstaging copy ", "\nbus ", "\nBottleneck: ",
		"\nNote: swept: how many parts gpuload reads at a time.\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in the table:\n%s", want, stdout)
		}
	}
	if n := strings.Count(stdout, "\nstore "); n != 1 {
		t.Errorf("%d stages are called store:\n%s", n, stdout)
	}
	if !strings.Contains(stdout, "\nPlot: "+plot+"\n") {
		t.Errorf("the table does not say where the plot is:\n%s", stdout)
	}
	drawing, err := os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	if circles, err := elements(drawing, "circle"); circles != 2 || err != nil {
		t.Errorf("%d points in the plot, %v", circles, err)
	}
}

// TestBenchSweep holds which concurrencies are tried, and that a variable which
// changes nothing is told of.
func TestBenchSweep(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args   []string
		sweep  string
		notice bool
	}{
		{nil, "[1 4 8 16 32]", false},
		{[]string{`--model-loader-extra-config={"concurrency":2}`}, "[1 4 8 16 32]", true},
		{[]string{`--model-loader-extra-config={"concurrency":2}`, "--concurrency=3"}, "[3]", false},
	} {
		code, _, stderr := gpuloadCommand(t, append([]string{"bench", "--device=cpu", smallModel(t)}, c.args...)...)
		if code != 0 || !strings.Contains(stderr, "concurrency "+c.sweep+",") || strings.Contains(stderr, "no effect") != c.notice {
			t.Errorf("%v: exit %d: %s", c.args, code, stderr)
		}
	}
}

func TestBenchJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	code, stdout, stderr := gpuloadCommand(t, "bench", "--device=cpu", "--concurrency=3", "--json", smallModel(t))
	var result struct {
		Runs []struct {
			Concurrency int
			Bytes       int64
			Start       string
		}
		Stages []struct {
			Name string
			Rate float64 `json:"bytes_per_second"`
		}
		Bottleneck string
		Notes      []string
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s: %v", code, stderr, err)
	}
	if len(result.Runs) != 1 || result.Runs[0].Concurrency != 3 || result.Runs[0].Bytes != 1006 || result.Bottleneck == "" || len(result.Notes) == 0 {
		t.Errorf("%+v", result)
	}
	for i, name := range []string{"store", "staging copy", "bus"} {
		if result.Stages[i].Name != name || result.Stages[i].Rate <= 0 {
			t.Errorf("stages %+v", result.Stages)
		}
	}
}

func TestStoreBehind(t *testing.T) {
	const table = `22 1 0:21 / / rw,relatime - ext4 /dev/vda rw
40 22 0:42 / /mnt/my\040models ro,nosuid shared:1 - fuse.weightfs s3://bucket/pre\040fix ro
41 22 0:43 / /mnt/whole ro - fuse.weightfs s3://bucket ro
42 22 0:44 / /mnt/folder ro - fuse.weightfs /srv/models ro
43 22 0:45 / /mnt/relative ro - fuse.weightfs models ro
44 22 0:46 / /mnt/other ro - fuse.sshfs host:/x ro
45 22 0:47 / /mnt/whole/over rw - tmpfs tmpfs rw
46 22 0:42 /a\040model /model ro,nosuid shared:1 - fuse.weightfs s3://bucket/pre\040fix ro
`
	mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(table), nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/mnt/my models":       "s3://bucket/pre fix",
		"/mnt/my models/llama": "s3://bucket/pre fix/llama",
		"/mnt/whole":           "s3://bucket",
		"/mnt/whole/a/b":       "s3://bucket/a/b",
		"/mnt/whole/over/a":    "",
		"/mnt/wholes":          "",
		"/mnt/folder/llama":    "/srv/models/llama",
		"/mnt/relative/llama":  "",
		"/mnt/other/llama":     "",
		"/home":                "",
		"/model":               "s3://bucket/pre fix/a model",
		"/model/part":          "s3://bucket/pre fix/a model/part",
	} {
		if got, ok := storeBehind(mounts, path); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t, want %q", path, got, ok, want)
		}
	}
}

// TestBenchPlot holds where the plot goes.
func TestBenchPlot(t *testing.T) {
	for _, c := range []struct {
		args  []string
		drawn string
	}{
		{nil, "gpuload-bench.svg"},
		{[]string{"--json"}, "gpuload-bench.svg"},
		{[]string{"--plot=my.svg"}, "my.svg"},
		{[]string{"--plot="}, ""},
	} {
		t.Chdir(t.TempDir())
		code, _, stderr := gpuloadCommand(t, append([]string{"bench", "--device=cpu", "--sweep=1", smallModel(t)}, c.args...)...)
		entries, err := os.ReadDir(".")
		if code != 0 || err != nil {
			t.Fatalf("%v: exit %d: %s, %v", c.args, code, stderr, err)
		}
		var drawn []string
		for _, e := range entries {
			drawn = append(drawn, e.Name())
		}
		if strings.Join(drawn, " ") != c.drawn {
			t.Errorf("%v: %q is drawn, want %q", c.args, drawn, c.drawn)
		}
	}
}

// TestBenchWithoutPlaceForPlot holds that a plot which nobody asked for keeps
// nothing from being measured.
func TestBenchWithoutPlaceForPlot(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(benchPlot, 0o755); err != nil { // root may write anywhere
		t.Fatal(err)
	}
	code, stdout, stderr := gpuloadCommand(t, "bench", "--device=cpu", "--sweep=1", smallModel(t))
	if code != 0 || !strings.Contains(stderr, "no plot: write "+benchPlot+": is a directory") || !strings.Contains(stdout, "\nBottleneck: ") ||
		strings.Contains(stdout, "Plot: ") {
		t.Errorf("exit %d, %s, %s", code, stderr, stdout)
	}
}

func TestBenchFailures(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := smallModel(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--sweep=0", dir}, 2, "concurrency 0"},
		{[]string{"--sweep=", dir}, 2, "sweep"},
		{[]string{dir + "/none"}, 1, "no such file"},
		{[]string{"--store=" + dir + "/none", "--sweep=1", dir}, 1, "store " + dir + "/none"},
		{[]string{"--plot=" + dir, "--sweep=1", dir}, 1, "write " + dir + ": is a directory"},
		{[]string{"--plot=" + dir + "/none/plot.svg", "--sweep=1", dir}, 1, "make " + dir + "/none/plot.svg"},
	} {
		code, _, stderr := gpuloadCommand(t, append([]string{"bench", "--device=cpu"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, stderr %q; want exit %d, %q", c.args, code, stderr, c.code, c.want)
		}
	}
}

func TestBottleneck(t *testing.T) {
	stages := func(mount, bus float64) []benchStage {
		return []benchStage{{stageMount, mount, false}, {stageStore, 1, true}, {stageStaging, 60e9, false}, {stageBus, bus, false}}
	}
	for _, c := range []struct {
		stages []benchStage
		rate   float64
		want   string
	}{
		{stages(10e9, 50e9), 9e9, "the mount: the best load has 90% of its speed"},
		{append(stages(10e9, 50e9), benchStage{stageStore, 11e9, true}), 9.9e9, "the store: the best load has 90% of its speed"},
		{append(stages(10e9, 50e9), benchStage{stageStore, 13e9, true}), 9e9, "the mount: the best load has 90% of its speed"},
		{append(stages(10e9, 50e9), benchStage{stageStore, 7e9, true}), 9e9, "the mount: the best load has 90% of its speed"},
		{stages(90e9, 50e9), 49e9, "the bus: the best load has 98% of its speed"},
		{stages(90e9, 50e9), 51e9, "the bus: the best load is as fast as that by itself"},
		{stages(90e9, 50e9), 20e9, "this host's processors or memory: the slowest stage, the bus, could do 50.00 GB/s by itself, the best load has 40% of that"},
	} {
		r := benchResult{Runs: []benchRun{{Seconds: 2, BytesPerSecond: 1e9}, {Seconds: 1, BytesPerSecond: c.rate}}, Stages: c.stages}
		if got := r.bottleneck(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestCeiling holds that what a mount had in its cache is not taken for what a cold
// load could have.
func TestCeiling(t *testing.T) {
	r := benchResult{Stages: []benchStage{{stageMount, 6.89e9, false}, {stageStore, 1.94e9, true}, {stageBus, 50e9, false}}}
	r.addAside(stageFUSE, 1e9) // which is not the way that bytes took
	if got := r.ceiling(); got.Name != stageStore {
		t.Errorf("the ceiling is the %s", got.Name)
	}
	r.Stages[1].BytesPerSecond = 9e9
	if got := r.ceiling(); got.Name != stageMount {
		t.Errorf("the ceiling is the %s, with a store that is faster", got.Name)
	}
}

func TestPlotOfOddResults(t *testing.T) {
	for _, r := range []benchResult{
		{Source: []string{"<&>"}, Runs: []benchRun{{Concurrency: 4, Bytes: 1, Seconds: 1e-9}}},
		{Runs: []benchRun{{Concurrency: 32, Bytes: 1e12, Seconds: 1e4}, {Concurrency: 1, Bytes: 1e12, Seconds: 3e5}}},
	} {
		r.addStage("source", 1e9)
		drawing := r.plot()
		if circles, err := elements(drawing, "circle"); circles != len(r.Runs) || err != nil {
			t.Errorf("%d points, %v", circles, err)
		}
		if bytes.Contains(drawing, []byte("NaN")) || bytes.Contains(drawing, []byte("Inf")) {
			t.Errorf("not a number in %s", drawing)
		}
	}
}

// elements counts the elements of that name in a well-formed document.
func elements(document []byte, name string) (int, error) {
	count := 0
	decoder := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == name {
			count++
		}
	}
}
