package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"weightfs/tests/rig"
)

// status is what mountd status prints.
func (b *busyMount) status(t *testing.T, args ...string) string {
	t.Helper()
	return rig.Succeed(t, nil, theStage.Mountd, append([]string{"status", b.Dir}, args...)...)
}

// TestStatusOfABusyMount holds that mountd status answers what is asked of a mount
// under load, in lines that fit a terminal.
func TestStatusOfABusyMount(t *testing.T) {
	m := mountUnderLoad(t)
	m.lease(t, hostile)
	wanted := []*regexp.Regexp{
		regexp.MustCompile(`(?m)^source +s3://models$`),
		regexp.MustCompile(`(?m)^mounted +` + regexp.QuoteMeta(m.Dir) + `$`),
		regexp.MustCompile(`(?m)^since +\d{4}-\d\d-\d\d .*, pid ` + fmt.Sprint(m.Process.PID()) + `,`),
		regexp.MustCompile(`(?m)^held back (line|store|memory|reader): .+$`),
		regexp.MustCompile(`(?m)^served +[1-9][0-9.]* [kM]B/s `),
		regexp.MustCompile(`(?m)^fetched +[1-9][0-9.]* [kM]B/s `),
		regexp.MustCompile(`(?m)^cache +.* of 32 MiB: .* in flight$`),
		regexp.MustCompile(`(?m)^ +\[#`),
		regexp.MustCompile(`(?m)^memory +\d+ MiB resident, at most 160 MiB promised$`),
		regexp.MustCompile(`(?m)^hand-off +1 client, \d+ [kM]?B/s, 1\.0 MiB leased so far, 1\.0 MiB of 8\.0 MiB kept$`),
		regexp.MustCompile(`(?m)^ +\d+ [kM]?B/s +1\.0 MiB so far +1\.0 MiB in 1 lease, 0 wanted  page\.test ` + fmt.Sprint(os.Getpid()) + `$`),
		regexp.MustCompile(`(?m)^GETs +[1-9]\d* of \d+, oldest `),
		regexp.MustCompile(`(?m)^ +\d+% +48 MiB +\S+ [kM]B/s  dd \d+ +…\S+of-00004\.safetensors$`),
		regexp.MustCompile(`(?m)^ +0% +4\.0 MiB +0 B/s  sleep \d+ +<img src`),
		regexp.MustCompile(`(?m) read ` + regexp.QuoteMeta(broken) + `  cat \d+$`),
		regexp.MustCompile(`(?m)^ +.*AccessDenied`),
	}
	var out string
	if !rig.Eventually(func() bool {
		out = m.status(t)
		for _, line := range wanted {
			if !line.MatchString(out) {
				return false
			}
		}
		return true
	}) {
		for _, line := range wanted {
			if !line.MatchString(out) {
				t.Errorf("no %v", line)
			}
		}
		t.Fatal(out)
	}
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 81 {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	m.checkJSON(t)
}

// TestStatusOfAFolder holds that files which the kernel reads by itself are said to
// be, since nothing else is known of them.
func TestStatusOfAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "weights"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	m := &busyMount{Mount: theStage.MountFor(t, rig.MountOptions{Source: dir})}
	t.Cleanup(m.stopReading)
	m.read(t, `exec 3<"$0"; cat <&3 >/dev/null; exec sleep 3600`, "weights")
	wanted := regexp.MustCompile(`(?s)held back nothing: the kernel reads 1 file by itself.*\n +1.0 MiB +by kernel +sleep \d+ +weights\n`)
	var out string
	if !rig.Eventually(func() bool { out = m.status(t); return wanted.MatchString(out) }) {
		t.Error(out)
	}
}

// checkJSON holds the keys that programs know.
func (b *busyMount) checkJSON(t *testing.T) {
	t.Helper()
	var r struct {
		Source, Mountpoint string
		PID                int
		Uptime             float64          `json:"uptime_seconds"`
		Limit              int64            `json:"memory_limit"`
		Measures           map[string]int64 `json:"measures"`
		Throughput         struct{ Now struct{ Served float64 } }
		Files              struct{ Listed []struct{ Object string } }
	}
	if err := json.Unmarshal([]byte(b.status(t, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Source != "s3://"+bucket || r.Mountpoint != b.Dir || r.PID != b.Process.PID() || r.Uptime <= 0 || r.Limit != limit ||
		r.Measures["reads_total"] == 0 || r.Throughput.Now.Served <= 0 || len(r.Files.Listed) < 1 {
		t.Errorf("%+v", r)
	}
}

// TestWatchedStatus watches a mount to its end: on a terminal, and on none.
func TestWatchedStatus(t *testing.T) {
	m := mountUnderLoad(t)
	// script(1) gives the command a terminal.
	watch := theStage.Mountd + " status --watch " + m.Dir
	terminal := start(t, "script", "-qefc", "stty rows 40 cols 90; exec "+watch, "/dev/null")
	plain, lines := start(t, theStage.Mountd, "status", "--watch", m.Dir), start(t, theStage.Mountd, "status", "--watch", "--json", m.Dir)
	interrupted := start(t, theStage.Mountd, "status", "--watch", m.Dir)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for p, pattern := range map[*rig.Process]string{
		terminal:    `(?s)\x1b\[2J\x1b\[Hsource.*\x1b\[J\x1b\[Hsource.*\x1b\[J`,
		plain:       `(?s)source.*failed.*\n\nsource.*failed`,
		lines:       `(?s)\{"source":.*\}\n\{"source":`,
		interrupted: `source`,
	} {
		if _, err := p.AwaitOutput(ctx, regexp.MustCompile(pattern)); err != nil {
			t.Error(err)
		}
	}
	if err := interrupted.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	if code := interrupted.Wait(); code != 0 {
		t.Errorf("after Ctrl-C: exit %d: %s", code, interrupted.Output())
	}
	m.stopReading()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range []*rig.Process{terminal, plain, lines} {
		if code := p.Wait(); code != 0 || p != lines && !strings.Contains(p.Output(), "the mount at "+m.Dir+" has ended") {
			t.Errorf("after the end of the mount: exit %d: %.2000s", code, p.Output())
		}
	}
}

// start runs a command until the test ends.
func start(t *testing.T, name string, args ...string) *rig.Process {
	t.Helper()
	p, err := rig.StartProcess(exec.Command(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}
