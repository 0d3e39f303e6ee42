package monitor

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"weightfs/cmd/cli"
	"weightfs/fs"
)

// underLoad is a report with something of everything.
func underLoad() Report {
	return Report{
		Source: "s3://models/llama", Mountpoint: "/mnt/models", PID: 4711, UptimeSeconds: 3661, MemoryLimit: 1 << 30, Version: "v1.2.3",
		Time:  time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC),
		Bound: Bound{Line, "readers wait while 50 MB/s come by 4 GETs"},
		Throughput: Throughput{
			Now: Rates{Served: 480e6, Fetched: 490e6}, Minute: Rates{Served: 470e6, Fetched: 470e6}, TenMinutes: Rates{Served: 1.3e9},
		},
		Cache:  Fill{Total: 1023 << 20, Retained: 300 << 20, Unread: 100 << 20, InFlight: 23 << 20, Free: 600 << 20},
		Memory: Resident{Resident: 500 << 20, Promised: 1152 << 20},
		Handoff: Handoff{Shared: true, Bytes: 5 << 30, Held: 12 << 20, Cap: 256 << 20, Clients: []Client{
			{PID: 97, Command: "gpuload", Files: 2, Wants: 64, Leases: 3, Held: 12 << 20, Bytes: 4 << 30, BytesPerSec: 4.7e9},
			{Command: "", Bytes: 1 << 30, BytesPerSec: 0.1e9, Writable: true},
		}},
		Waiting: Waiting{Readers: 3, ForMemory: 1},
		Files: Files{Open: 300, More: 298, Listed: []File{
			{Object: "llama/" + strings.Repeat("very-long-", 20) + "model-00001-of-00030.safetensors", Size: 5 << 30, Furthest: 2 << 30, BytesPerSec: 480e6, PID: 99, Command: "python3"},
			{Object: "模型/" + strings.Repeat("权重", 60) + ".safetensors", Size: 100, Furthest: 100, PID: 98},
			{Object: "config.json", Size: 0, PID: 0, ReadsByKernel: true},
		}},
		Fetches: Fetches{UnderWay: 4, Limit: 32, Queued: 2, OldestSeconds: 2.14},
		Failures: []Failure{{
			Time: time.Date(2026, 2, 3, 11, 59, 0, 0, time.UTC), Count: 7, Op: "read", Object: "broken\x1b[2J\u202e.safetensors",
			PID: 12, Command: "cat", Cause: "403\nAccessDenied " + strings.Repeat("x", 200),
		}},
		Tier: &cli.TierReport{HitRate: new(0.875), Bytes: 7 << 30, DirectBytes: 8 << 20, Fallbacks: map[string]int64{"silent": 2, "wrong": 1},
			Instances: []cli.TierInstance{{URL: "http://cache-0.example:8081", State: "open", Requests: 1, Failures: 1, Breaks: 1}}},
		Kernel: Kernel{Release: "6.12.1", Protocol: "7.41", ReadAhead: 4 << 20, MaxRead: 1 << 20, Passthrough: true},
	}
}

func printed(t *testing.T, r Report, width int) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Print(&out, width); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReportForPeople(t *testing.T) {
	out := printed(t, underLoad(), 0)
	for _, want := range []string{
		"s3://models/llama\n", "/mnt/models\n", "(1h1m1s), pid 4711, version v1.2.3\n", "held back line: readers wait",
		"served    480 MB/s      470 MB/s      1.3 GB/s\n", "423 MiB of 1.0 GiB: 300 MiB kept, 100 MiB unread, 23 MiB in flight\n",
		"500 MiB resident, at most 1.1 GiB promised\n", "4 of 32, oldest 2.1s, 2 queued; READs waiting: 3, 1 for memory\n",
		"tier      88% hits, 7.0 GiB from it, 8.0 MiB from the store in its place: 2\n          silent, 1 wrong\n",
		"          http://cache-0.example:8081: left alone, 1 request, 1 failed\n",
		"hand-off  2 clients, 4.8 GB/s, 5.0 GiB leased so far, 12 MiB of 256 MiB kept\n",
		"   4.7 GB/s   4.0 GiB so far    12 MiB in 3 leases, 64 wanted  gpuload 97\n", "100 MB/s   1.0 GiB so far       0 B in 0 leases, 0 wanted  other container\n",
		"readahead 4.0 MiB, max_read 1.0 MiB, passthrough, FUSE 7.41, Linux",
		"300 open files\n", " 40%   5.0 GiB   480 MB/s  python3 99        very-long-", "of-00030.safetensors\n", "…", "98 (ended)", "by kernel  other container ", "and 297 more\n",
		"7 x read broken", "  cat 12\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// TestReportFitsTheTerminal holds that no line is too long, and that no name does
// anything to the terminal.
func TestReportFitsTheTerminal(t *testing.T) {
	for _, width := range []int{0, 60, 80, 200} {
		out := printed(t, underLoad(), width)
		for line := range strings.Lines(out) {
			line = strings.TrimSuffix(line, "\n")
			if got, most := runewidth.StringWidth(line), max(width, 60); got > most && (width > 0 || got > DefaultWidth) {
				t.Errorf("%d columns in place of %d: %s", got, width, line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }) {
				t.Errorf("a control character: %q", line)
			}
		}
	}
}

// TestReportOfAnIdleMount has next to nothing to tell, as a mountd of before has.
func TestReportOfAnIdleMount(t *testing.T) {
	out := printed(t, Report{Source: "s3://bucket"}, 0)
	for _, want := range []string{"(mounted by another process)", "0 open files\n", "nothing that was read or listed\n", "GETs      0 of 0\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestCutName(t *testing.T) {
	for _, c := range []struct {
		key   string
		width int
		want  string
	}{
		{"a/b", 3, "a/b"},
		{"folder/shard", 10, "…der/shard"},
		{"folder/shard", 6, "…shard"},
		{"folder/model-00001", 8, "mo…00001"},
		{"ordner/模型", 5, "…模型"},
		{"模型模型模型", 6, "…模型"},
	} {
		if got := cutName(c.key, c.width); got != c.want {
			t.Errorf("%s in %d: %q, want %q", c.key, c.width, got, c.want)
		}
	}
}

func TestParagraph(t *testing.T) {
	tx := &text{width: 30}
	tx.paragraph("a", "one two three four five six seven eight nine ten eleven twelve")
	if got, want := tx.String(), "a         one two three four\n          five six seven eight\n          nine ten eleven twe…\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	tx = &text{width: 30}
	tx.paragraph("a", strings.Repeat("x", 25))
	if got, want := tx.String(), "a         "+strings.Repeat("x", 20)+"\n          xxxxx\n"; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestCauseOf(t *testing.T) {
	for _, c := range []struct{ cause, want string }{
		{"read a: b [0,4096): GET s3://x/a: b [0,10): HTTP 403", "GET s3://x/a: b [0,10): HTTP 403"},
		{"no answer: timeout", "no answer: timeout"},
		{"read a: b", "read a: b"},
	} {
		if got := causeOf(fs.Failure{Op: "read", Key: "a: b", Cause: c.cause}); got != c.want {
			t.Errorf("%q: %q, want %q", c.cause, got, c.want)
		}
	}
}

func TestBar(t *testing.T) {
	for want, parts := range map[string][]part{
		"[          ]": nil,
		"[#####.....]": {{'#', 50}, {'.', 50}},
		"[#+~.......]": {{'#', 1}, {'+', 1}, {'~', 1}, {'.', 1000}}, // what is there is seen
		"[##########]": {{'#', 10}, {'.', 0}},
		"[#########+]": {{'#', 1000}, {'+', 1}, {'~', 0}},
	} {
		if got := bar(parts, 12); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
