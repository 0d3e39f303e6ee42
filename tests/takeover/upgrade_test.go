package takeover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// upgrades is how often the program that serves is replaced in each case.
var upgrades = flag.Int("upgrades", 6, "how often the program that serves is replaced in each case")

// builds are mountd as it is built for several releases.
type builds struct {
	versions []string // of the first programs, which can follow one another
	programs []string
	other    string // one whose state is of another version
}

// build makes them once.
var build = sync.OnceValues(func() (b builds, err error) {
	root, err := rig.Root()
	if err != nil {
		return b, err
	}
	dir := filepath.Join(theStage.Scratch, "builds")
	overlay, err := otherState(root, dir)
	if err != nil {
		return b, err
	}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		program := filepath.Join(dir, version, "mountd")
		if err := rig.BuildVersion(context.Background(), program, version); err != nil {
			return b, err
		}
		b.versions, b.programs = append(b.versions, version), append(b.programs, program)
	}
	b.other = filepath.Join(dir, "3.0.0", "mountd")
	return b, rig.BuildVersion(context.Background(), b.other, "3.0.0", "-overlay", overlay)
})

// otherState is an overlay of go build's in which the state is of another version.
func otherState(root, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(root, "fs", "state", "state.go")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(text), "\nconst Version = ", "\nconst Version = 1000 + ", 1)
	if changed == string(text) {
		return "", fmt.Errorf("%s has no constant Version", file)
	}
	replacement := filepath.Join(dir, "state.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, errors.Join(os.WriteFile(replacement, []byte(changed), 0o644), os.WriteFile(name, overlay, 0o644))
}

// upgradeTo has a program serve a mount in place of the one that does, and returns
// what it said.
func upgradeTo(t *testing.T, program string, m *rig.Mount, flags ...string) rig.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := []string{"upgrade", m.Dir}
	if len(flags) > 0 {
		args = append(append(args, "--"), flags...)
	}
	result, err := rig.Run(ctx, nil, program, args...)
	noError(t, err)
	return result
}

// served is what a mount says of who serves it.
type served struct {
	PID       int              `json:"pid"`
	Worker    int              `json:"worker_pid"`
	Version   string           `json:"version"`
	Upgrades  int              `json:"upgrades"`
	Takeovers int              `json:"takeovers"`
	Limit     int64            `json:"memory_limit"`
	Measures  map[string]int64 `json:"measures"`
}

func servedBy(t *testing.T, m *rig.Mount) (s served) {
	t.Helper()
	noError(t, json.Unmarshal([]byte(rig.Succeed(t, nil, theStage.Mountd, "status", "--json", m.Dir)), &s))
	return s
}

// mountBuild mounts by one of the builds, whose mount must end well and leave nothing.
func mountBuild(t *testing.T, program string, opts rig.MountOptions) *rig.Mount {
	t.Helper()
	programs := *theStage.Programs
	programs.Mountd = program
	m, err := programs.Mount(t.Context(), opts)
	noError(t, err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		checkNothingLeft(t, m)
		if t.Failed() {
			t.Log(m.Output())
		}
	})
	return m
}

// descriptors are how many a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	noError(t, err)
	return len(open)
}

// Sixteen readers see nothing of upgrades from one build to another and back, in any
// moment, and nothing is left of the programs that were replaced.
func TestReadersSeeNoUpgrade(t *testing.T) {
	b, err := build()
	noError(t, err)
	for name, tc := range map[string]struct {
		folder bool
		env    []string
	}{
		"bucket":        {},
		"bucket, found": {env: []string{noResend}},
		"folder":        {folder: true},
		"folder, found": {folder: true, env: []string{noResend}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := rig.MountOptions{Source: "s3://" + bucket, Env: append(theStage.Server.Env(), tc.env...), Args: []string{"--memory-limit", memoryLimit}}
			if tc.folder {
				opts.Source = folderOnTmpfs(t)
			}
			m := mountBuild(t, b.programs[0], opts)
			c, p := read(t, m), probe(t, m)
			before := descriptors(t, m.Process.PID())
			w := upgradeInAnyMoment(t, b, m, p)
			p.finish()
			s := c.finish()
			for what, waits := range map[string][]time.Duration{
				"nobody serves": w.pauses, "the longest read of 1 MiB": w.during, "the same read between upgrades": w.between,
			} {
				slices.Sort(waits)
				t.Logf("%s, in each of %d upgrades: median %v, at most %v", what, len(waits), waits[len(waits)/2], waits[len(waits)-1])
			}
			t.Logf("%d reads of %d MiB and %d looks beside, the longest took %v", s.Reads, s.Bytes>>20, s.Looks, s.Longest)
			checkIdle(t, m, 0)
			if got := servedBy(t, m); got.Takeovers != 0 || got.Upgrades != *upgrades || got.Measures["upgrades_total"] != int64(*upgrades) {
				t.Errorf("%+v after %d upgrades", got, *upgrades)
			}
			if after := descriptors(t, m.Process.PID()); after > before+1 { // the program
				t.Errorf("the keeper had %d descriptors open, and has %d", before, after)
			}
		})
	}
}

// waits are how long readers waited in each of some upgrades.
type waits struct {
	pauses          []time.Duration // as the command says
	during, between []time.Duration // the longest read of the probe
}

// upgradeInAnyMoment goes from one build to the other and back, again and again.
func upgradeInAnyMoment(t *testing.T, b builds, m *rig.Mount, p prober) (w waits) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	worker := servedBy(t, m).Worker
	for i := range *upgrades {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		w.between = append(w.between, p.longest())
		next := (i + 1) % len(b.programs)
		r := upgradeTo(t, b.programs[next], m)
		_, text, _ := strings.Cut(strings.TrimSpace(r.Stdout), "readers waited ")
		pause, err := time.ParseDuration(text)
		if err != nil || r.Code != 0 || !strings.Contains(r.Stdout, "version "+b.versions[next]) {
			t.Fatalf("upgrade: %+v", r)
		}
		w.pauses, w.during = append(w.pauses, pause), append(w.during, p.longest())
		got := servedBy(t, m)
		if !strings.HasPrefix(got.Version, b.versions[next]) || got.Worker == worker || got.PID != m.Process.PID() {
			t.Fatalf("after an upgrade to %s, process %d of %s serves", b.versions[next], got.Worker, got.Version)
		}
		rig.Await(t, "the process that served before is gone", func() bool { return unix.Kill(worker, 0) != nil })
		worker = got.Worker
	}
	return w
}

// An upgrade to what cannot serve changes nothing: the process that serves is the
// same, and its readers wait for nobody.
func TestUpgradeIsRolledBack(t *testing.T) {
	b, err := build()
	noError(t, err)
	m := mountBuild(t, b.programs[0], rig.MountOptions{Source: "s3://" + bucket, Env: theStage.Server.Env(), Args: []string{"--memory-limit", memoryLimit}})
	c := read(t, m)
	before := servedBy(t, m)
	for name, tc := range map[string]struct {
		program string
		flags   []string
		code    int
		says    string
	}{
		"does not start":         {b.programs[1], []string{"--env-file", "/nowhere"}, 1, "open /nowhere: no such file"},
		"has no memory to start": {b.programs[1], []string{"--memory-limit", "1Mi"}, 1, "memory limit"},
		"reaches no store":       {b.programs[1], []string{"--endpoint-url", "http://127.0.0.1:1"}, 1, "connection refused"},
		"is of another state":    {b.other, nil, 1, "the mount was served by another version"},
		"is called wrongly":      {b.programs[1], []string{"--nonsense"}, 2, "unknown flag"},
		"would mount anew":       {b.programs[1], []string{"--allow-other"}, 2, "is of the mount"},
		"would take over itself": {b.programs[1], []string{"--take-over"}, 2, "is of the mount"},
		"has another mountpoint": {b.programs[1], []string{"/elsewhere"}, 2, "source and mountpoint stay"},
	} {
		if r := upgradeTo(t, tc.program, m, tc.flags...); r.Code != tc.code || !strings.Contains(r.Stderr, tc.says) {
			t.Errorf("to one that %s: %+v", name, r)
		}
		if got := servedBy(t, m); got.Worker != before.Worker || got.Upgrades != 0 || got.Version != before.Version {
			t.Errorf("after one that %s, process %d serves: %+v", name, got.Worker, got)
		}
	}
	if r := upgradeTo(t, b.programs[1], m, "--memory-limit", "96Mi"); r.Code != 0 {
		t.Errorf("after all those: %+v", r)
	}
	if got := servedBy(t, m); got.Limit != 96<<20 || got.Upgrades != 1 {
		t.Errorf("a flag has not changed: %+v", got)
	}
	// A crash from then on is followed by the new program.
	dead, err := m.KillServing()
	noError(t, err)
	answers(t, m)
	rig.Await(t, fmt.Sprintf("process %d is dead, and another has a status", dead), func() bool {
		status, err := rig.Run(t.Context(), nil, theStage.Mountd, "status", m.Dir)
		noError(t, err)
		return status.Code == 0
	})
	if got := servedBy(t, m); got.Limit != 96<<20 || got.Takeovers != 1 || got.Upgrades != 1 || !strings.HasPrefix(got.Version, b.versions[1]) {
		t.Errorf("after a death: %+v", got)
	}
	c.finish()
}

// What cannot be asked says so.
func TestUpgradeOfNothing(t *testing.T) {
	t.Parallel()
	nobody, err := rig.Run(t.Context(), nil, theStage.Mountd, "upgrade", t.TempDir())
	noError(t, err)
	if nobody.Code != 1 || !strings.Contains(nobody.Stderr, "no mountd of yours is mounted there") {
		t.Errorf("of no mount: %+v", nobody)
	}
}

// probeVariable has the test binary read the same MiB of a mount again and again.
const probeVariable = "TAKEOVER_TEST_PROBE"

// beProbe reads a MiB by O_DIRECT, which the kernel does not cache. For each line of
// stdin it prints the nanoseconds of the longest read since the last.
func beProbe(dir string) error {
	const size, page = 1 << 20, 4096
	large, _ := names()
	want := content(large[0], largeSize)[:size]
	file, err := os.OpenFile(filepath.Join(dir, large[0]), os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	room := make([]byte, size+page)
	buf := room[-uintptr(unsafe.Pointer(&room[0]))%page:][:size]
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- struct{}{}
		}
	}()
	for longest := time.Duration(0); ; {
		select {
		case _, ok := <-lines:
			if !ok {
				return nil
			}
			fmt.Println(int64(longest))
			longest = 0
		default:
		}
		began := time.Now()
		if _, err := file.ReadAt(buf, 0); err != nil {
			return err
		}
		longest = max(longest, time.Since(began))
		if string(buf) != string(want) {
			return errors.New("wrong bytes")
		}
		time.Sleep(time.Millisecond)
	}
}

// prober is the process of a probe.
type prober struct{ *child }

func probe(t *testing.T, m *rig.Mount) prober {
	t.Helper()
	return prober{startChild(t, m, probeVariable)}
}

// longest is the longest read since the last call.
func (p prober) longest() (took time.Duration) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.stdin)
	noError(p.t, err)
	p.bounded(func() error {
		_, err := fmt.Fscanln(p.out, (*int64)(&took))
		return err
	})
	return took.Round(100 * time.Microsecond)
}

// finish ends the probe, which must not have failed.
func (p prober) finish() {
	p.t.Helper()
	noError(p.t, p.stdin.Close())
	p.bounded(func() error { // until it has ended, which is no fault
		_, err := io.Copy(io.Discard, p.out)
		return err
	})
	noError(p.t, p.cmd.Wait())
}
