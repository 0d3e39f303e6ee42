package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// The sums are those of Mountpoint's own tests.
func TestManifestSum(t *testing.T) {
	for key, c := range map[string]struct {
		etag string
		size int64
		want string
	}{
		"key1": {`"etag1"`, 1024, "kr9zjg=="},
		"key2": {`"etag2"`, 2048, "Cs9LBw=="},
	} {
		if got := manifestSum(key, c.etag, c.size); got != c.want {
			t.Errorf("%s: %s, want %s", key, got, c.want)
		}
	}
}

// fake is a program that runs a shell script.
func fake(script string) (*comparison, program) {
	return &comparison{Stage: &lab.Stage{Server: &rig.Server{}, Disk: os.TempDir()}, bytes: 4096}, program{args: func(*comparison) []string {
		return []string{"sh", "-c", script}
	}}
}

// A client that loads less than there is must not count as a fast one.
func TestLoadChecksTheBytes(t *testing.T) {
	for script, fails := range map[string]bool{
		`echo 4096`: false, `echo '{"bytes": 4096, "files": 1}'`: false,
		`echo 4095`: true, `echo '{"bytes": 4095}'`: true, `echo loaded`: true, `true`: true, `echo 4096; exit 3`: true,
	} {
		c, p := fake(script)
		if _, err := c.load(t.Context(), p, "", "source", "", false); (err != nil) != fails {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// A client that took too long is killed with what it has started.
func TestLoadThatTakesTooLong(t *testing.T) {
	c, p := fake("sleep 100; true")
	began := time.Now()
	_, err := lab.Within(t.Context(), 50*time.Millisecond, func(ctx context.Context) (lab.Run, error) {
		return c.load(ctx, p, "", "source", "", false)
	})
	if err == nil || !strings.HasPrefix(err.Error(), "not done within 50ms") || time.Since(began) > time.Minute {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestCompareFindsOtherBytes(t *testing.T) {
	c := &comparison{tensors: map[string]rig.Tensor{"a": {Name: "a", Nbytes: 1, Digest: "x"}, "b": {Name: "b", Nbytes: 2, Digest: "y"}}}
	for text, fails := range map[string]bool{
		`{"name":"b","nbytes":2,"digest":"y"}{"name":"a","nbytes":1,"digest":"x"}`: false,
		`{"name":"b","nbytes":2,"digest":"z"}{"name":"a","nbytes":1,"digest":"x"}`: true,
		`{"name":"c","nbytes":2,"digest":"y"}{"name":"a","nbytes":1,"digest":"x"}`: true,
		`{"name":"a","nbytes":1,"digest":"x"}`:                                     true,
	} {
		path := filepath.Join(t.TempDir(), "manifest")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.compare(path); (err != nil) != fails {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// dd.sh takes every byte of the file exactly once, and says where one is another.
func TestDDReadsAndCompares(t *testing.T) {
	dir := t.TempDir()
	data := []byte(strings.Repeat("0123456789", 4097))
	file, same, other := filepath.Join(dir, "file"), filepath.Join(dir, "same"), filepath.Join(dir, "other")
	changed := slices.Clone(data)
	changed[len(changed)-1] = 'x'
	for name, content := range map[string][]byte{file: data, same: data, other: changed, file + "-short": data[:40000]} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"1", "16"} {
		for _, c := range []struct {
			file, copy string
			fails      bool
		}{{file, "", false}, {file, same, false}, {file, other, true}, {file + "-short", same, true}, {file + "-none", "", true}} {
			cmd := exec.Command("readers/dd.sh", n, "4k", fmt.Sprint(len(data)), c.file)
			cmd.Env = append(os.Environ(), "COMPARE="+c.copy)
			if _, err := lab.Exec(cmd); (err != nil) != c.fails {
				t.Errorf("%s of %s, compared with %q: %v", n, c.file, c.copy, err)
			}
		}
	}
}

// Every way to load a path gives the bytes that there are, and the fastest way
// that works is chosen.
func TestReadersOfALocalFile(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	programs, err := rig.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{Stage: &lab.Stage{Root: root, Programs: programs, Server: &rig.Server{}, Scratch: dir, Disk: dir}}
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 1 << 20, TensorSize: 1 << 18, Dtypes: []string{"F16"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.describeObject(t.Context(), filepath.Join(dir, names[0])); err != nil {
		t.Fatal(err)
	}
	for _, p := range readers() {
		for _, way := range append(p.ways, "") {
			for _, checked := range []bool{true, false} {
				if _, err := c.load(t.Context(), p, way, c.copied, "", checked); err != nil {
					t.Errorf("%s %s, checked: %v: %v", p.name, way, checked, err)
				}
			}
		}
	}
}

func TestMountedLooksForTheWholeName(t *testing.T) {
	if !mounted("/proc") || mounted("/pro") || mounted(t.TempDir()) {
		t.Error("/proc alone is a mountpoint")
	}
}

// measured is one run with a line that came to something and one that did not.
func measured() *results {
	good := &line{Place: "loopback", Peer: weightfs, Reader: "safetensors, lazy", State: cold, Way: "RUNAI_STREAMER_X=1", Size: 6e9, Seconds: []float64{2, 1, 4}, LineRate: 4e9,
		Fetched: 5e6, Requests: 7, Memory: 1 << 20, Cache: 2 << 20}
	bad := &line{Place: "loopback", Peer: "b|c", State: cold, Failure: "it\nfailed | badly"}
	return &results{lines: []*line{good, bad}, peers: [][]string{{"a", "1.0", "-x"}}, c: &comparison{Stage: &lab.Stage{}, opts: lab.Settings{Runs: 5}}}
}

func TestTables(t *testing.T) {
	all := measured()
	table := all.table()
	for _, want := range []string{
		"![cold rates, of the line rate](peers/loopback.svg)",
		"| a | 1.0 | -x |",
		"| safetensors, lazy (X=1) | weightfs | cold | 2.00 | 1.00 to 4.00 (of 3) | 3.00 | 0.75 | 5.0 MB | 7 | 1 MiB | 2 MiB |",
		`| it failed \| badly | – | – | – | – | – | – | – |`,
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%s\nlacks\n%s", table, want)
		}
	}
	want := "| safetensors, lazy | not measured | not measured | 3.00 | 0.75 | not measured |  |\n"
	if table := all.patternTable(); !strings.Contains(table, want) {
		t.Errorf("%s\nlacks\n%s", table, want)
	}
}

// The documents must have the marks, and the samples are JSON.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	o := lab.Settings{Out: filepath.Join(dir, "out"), Docs: dir}
	marks := "<!-- peers: begin -->\nold\n<!-- peers: end -->\n<!-- patterns: begin -->\n<!-- patterns: end -->\n"
	err := measured().write(o)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without documents: %v", err)
	}
	for _, name := range []string{"peers.md", "vllm.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(marks), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := measured().write(o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out", "results.json"))
	if err != nil || !json.Valid(text) {
		t.Errorf("results.json: %v", err)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "peers.md")); err != nil || !strings.Contains(string(page), measured().table()) {
		t.Errorf("%v: %s", err, page)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"--size=64MiB", "--runs", "2", "--rows", "a|b"}); err != nil || o.Size != 64<<20 || o.Runs != 2 || !o.Rows.MatchString("b") {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"--docs=x", "--rows=a"}); err == nil {
		t.Error("documents of some rows are no error")
	}
}

// Names tell rows apart, and what has flags has a version.
func TestRowsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		peer, reader := r.names()
		name := fmt.Sprintf("%s: %s: %s", r.place.name, peer, reader)
		if seen[name] || peer == "" {
			t.Errorf("%q stands twice", name)
		}
		seen[name] = true
		if r.mounter != nil && (r.mounter.command == nil) != (r.mounter.version == nil) || r.mounter == nil && r.program.version == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
