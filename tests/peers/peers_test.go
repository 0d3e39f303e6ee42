package main

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestExchangeNeedsReadiness(t *testing.T) {
	talk := func(said string) (string, int64, error) {
		var heard strings.Builder
		_, loaded, err := exchange(&heard, bufio.NewReader(strings.NewReader(said)))
		return heard.String(), loaded, err
	}
	if heard, loaded, err := talk("ready\n4096\n"); heard != "go\n" || loaded != 4096 || err != nil {
		t.Errorf("heard %q, loaded %d, %v", heard, loaded, err)
	}
	for _, said := range []string{"", "Traceback\n", "ready\n", "ready\nnone\n"} {
		if _, _, err := talk(said); err == nil {
			t.Errorf("%q is no error", said)
		}
	}
}

// A client that loads less than there is must not count as a fast one.
func TestLoadChecksTheBytes(t *testing.T) {
	gpuload := filepath.Join(t.TempDir(), "gpuload")
	if err := os.WriteFile(gpuload, []byte("#!/bin/sh\necho '{\"bytes\": 4095}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	l := &lab{programs: &rig.Programs{Gpuload: gpuload}, server: &rig.Server{}, tensors: 4096}
	if _, err := l.load(t.Context(), client{name: "gpuload"}, "x", ""); err == nil || !strings.Contains(err.Error(), "4095") {
		t.Errorf("a short load: %v", err)
	}
	l.tensors = 4095
	if _, err := l.load(t.Context(), client{name: "gpuload"}, "x", ""); err != nil {
		t.Error(err)
	}
}

// A client that took too long was killed for that, and its dying words say less.
func TestLoadThatTakesTooLong(t *testing.T) {
	l := &lab{programs: &rig.Programs{Python: "/bin/sh"}, server: &rig.Server{}, root: t.TempDir()}
	dir := filepath.Join(l.root, "tests", "peers", "python")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "slow"), []byte("echo ready\nexec sleep 100\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("too long"))
	defer cancel()
	if _, err := l.load(ctx, client{name: "slow", script: []string{"slow"}}, "x", ""); err == nil || err.Error() != "too long" {
		t.Errorf("got %v", err)
	}
}

func TestMountedLooksForTheWholeName(t *testing.T) {
	if !mounted("/proc") || mounted("/pro") || mounted(t.TempDir()) {
		t.Error("/proc alone is a mountpoint")
	}
}

// measured is one run with a line that came to something and one that did not.
func measured() *results {
	good := &line{Store: "loopback", Peer: "a", Reader: "dd", State: cold, Fetched: 5e6, Requests: 7}
	good.add(result{seconds: 2, memory: 1 << 20, cache: 2 << 20}, 4e9, 4e9)
	bad := &line{Store: "loopback", Peer: "b|c", State: cold, Failure: "it\nfailed | badly"}
	all := &results{lines: []*line{good, bad}, peers: []described{{"a", "1.0", "-x"}}, lab: &lab{}}
	all.divide()
	return all
}

// A line rate that was low by chance must not raise the ratio of one line.
func TestRatiosShareOneLineRate(t *testing.T) {
	all := &results{}
	for _, rate := range []float64{1e9, 4e9, 4e9} {
		l := &line{Store: "loopback"}
		l.add(result{seconds: 1}, 2e9, rate)
		all.lines = append(all.lines, l)
	}
	all.divide()
	for _, l := range all.lines {
		if l.ratio() != 0.5 {
			t.Errorf("line rate %v: ratio %v", l.Lines, l.ratio())
		}
	}
}

// A cache is counted by the blocks of its files, and a file that is unlinked while
// it is held open still takes them.
func TestCacheIsCounted(t *testing.T) {
	m := &mount{cache: t.TempDir()}
	name := filepath.Join(m.cache, "unlinked")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<30); err != nil { // sparse from there
		t.Fatal(err)
	}
	if got := m.cached(); got < 1<<20 || got > 2<<20 {
		t.Errorf("%d bytes in the folder, want one MiB", got)
	}
	var err error
	if m.proc, err = rig.StartProcess(exec.Command("sh", "-c", `exec sleep 60 <"$0"`, name)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.proc.Stop(time.Second) }()
	open := fmt.Sprintf("/proc/%d/fd/0", m.proc.PID())
	for began := time.Now(); ; { // a moment without any, as the shell redirects
		to, err := os.Readlink(open)
		if to == name {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("it has %q open, %v", to, err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if got := m.cached(); got < 1<<20 || got > 2<<20 {
		t.Errorf("%d bytes unlinked, want one MiB", got)
	}
}

func TestTable(t *testing.T) {
	table := measured().table()
	for _, want := range []string{
		"![cold rates, of the line rate](benchmarks/peers-loopback.svg)",
		"| a | 1.0 | `-x` |",
		"| dd | a | cold | 2.00 | 2.00 to 2.00 | 2.00 | 0.50 | 5.0 MB | 7 | 1 MiB | 2 MiB |",
		`| it failed \| badly | – | – | – | – | – | – | – |`,
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%s\nlacks\n%s", table, want)
		}
	}
}

func TestPlotIsXML(t *testing.T) {
	for decoder := xml.NewDecoder(strings.NewReader(measured().plot(stores()[0]))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := publication{"page.md", "table", "new\n"}
	write("before\n<!-- table: begin -->\nold\n<!-- table: end -->\nafter\n")
	if err := p.publish(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if want := "before\n<!-- table: begin -->\nnew\n<!-- table: end -->\nafter\n"; string(text) != want || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	write("no marks")
	if err := p.publish(dir); err == nil {
		t.Error("no marks are no error")
	}
}

func TestPatternTable(t *testing.T) {
	all := measured()
	fast := &line{Store: "loopback", Peer: weightfs, Reader: "safetensors, lazy", State: cold}
	fast.add(result{seconds: 1}, 3e9, 4e9)
	all.lines = append(all.lines, fast)
	all.divide()
	want := "| safetensors, lazy | not measured | not measured | 3.00 | 0.75 | not measured |  |\n"
	if table := all.patternTable(); !strings.Contains(table, want) {
		t.Errorf("%s\nlacks\n%s", table, want)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"--size=64MiB", "--runs", "2", "--rows", "a|b"}); err != nil || o.size != 64<<20 || o.runs != 2 || !o.pattern.MatchString("b") {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"--runs=0"}, {"--size=1"}, {"--rows=("}, {"--docs=x", "--rows=a"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is no error", args)
		}
	}
}

func TestRowsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range mounters() {
		if seen[p.name] || (p.command == nil) != (p.version == nil) {
			t.Errorf("%+v", p)
		}
		seen[p.name] = true
	}
	for _, c := range loaders() {
		if c.name == "" || c.version == nil {
			t.Errorf("%+v", c)
		}
	}
}
