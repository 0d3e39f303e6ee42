package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// failure is a wrong call: it must end with one line on standard error that
// names what is wrong, print nothing else, and leave nothing mounted.
type failure struct {
	name  string
	args  []string
	code  int
	names string // must stand in the line
}

func (f failure) check(t *testing.T, env []string, program string) {
	t.Helper()
	got := runWith(t, env, program, f.args...)
	if got.Code != f.code {
		t.Errorf("exit %d, want %d", got.Code, f.code)
	}
	lines := causes(got.Stderr)
	if len(lines) != 1 || !strings.Contains(lines[0], f.names) {
		t.Errorf("standard error does not give one cause that names %q: %q", f.names, got.Stderr)
	}
	if got.Stdout != "" {
		t.Errorf("standard output is %q", got.Stdout)
	}
}

// causes returns the lines of standard error but for those that are no cause:
// gpuload's first line and its progress, the log, the hint at --help.
func causes(stderr string) (lines []string) {
	other := regexp.MustCompile(`^(gpuload: loading |gpuload: +[0-9]+%|time=|Try ')`)
	for line := range strings.Lines(stderr) {
		if !other.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestMountdRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	source, mnt := theStage.model(t, "mixed").dir, filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, f := range []failure{
		{"no arguments", nil, 2, "SOURCE"},
		{"one argument", []string{source}, 2, "MOUNTPOINT"},
		{"three arguments", []string{source, mnt, mnt}, 2, ""},
		{"unknown flag", []string{"--memory-limits", "1", source, mnt}, 2, "--memory-limits"},
		{"malformed size", []string{"--memory-limit", "lots", source, mnt}, 2, "lots"},
		{"malformed mode", []string{"--prefetch", "clever", source, mnt}, 2, "clever"},
		{"malformed concurrency", []string{"--concurrency", "-4", source, mnt}, 2, "-4"},
		{"other scheme", []string{"gs://bucket", mnt}, 2, "gs://bucket"},
		{"no bucket name", []string{"s3://", mnt}, 2, "s3://"},
		{"tiny memory", []string{"--memory-limit", "1", source, mnt}, 1, "memory"},
		{"missing folder", []string{missing, mnt}, 1, missing},
		{"missing bucket", []string{"s3://no-such-bucket", mnt}, 1, "no-such-bucket"},
		{"missing mountpoint", []string{source, missing}, 1, missing},
		{"mountpoint is a file", []string{source, file}, 1, file},
	} {
		t.Run(f.name, func(t *testing.T) {
			f.check(t, theStage.server.Env(), theStage.Mountd)
			if mounted, err := rig.IsMounted(mnt); mounted || err != nil {
				t.Errorf("mounted: %v, %v", mounted, err)
			}
		})
	}
}

func TestGpuloadRefuses(t *testing.T) {
	source := theStage.model(t, "mixed").dir
	empty, broken := t.TempDir(), filepath.Join(t.TempDir(), "broken.safetensors")
	if err := os.WriteFile(broken, []byte("this is not a checkpoint at all"), 0o644); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(empty, "missing")
	for _, f := range []failure{
		{"no source", []string{"load"}, 2, "SOURCE"},
		{"unknown flag", []string{"load", "--devices", "cpu", source}, 2, "--devices"},
		{"unknown device", []string{"load", "--device", "tpu", source}, 2, "tpu"},
		{"malformed size", []string{"load", "--part-size", "big", source}, 2, "big"},
		{"malformed JSON", []string{"load", "--model-loader-extra-config", "{", source}, 2, "extra config"},
		{"unknown JSON key", []string{"load", "--model-loader-extra-config", `{"concurency":1}`, source}, 2, "concurency"},
		{"unknown hash", []string{"load", "--hash", "md5", source}, 2, "md5"},
		{"missing path", []string{"load", "--device", "cpu", missing}, 1, missing},
		{"empty folder", []string{"load", "--device", "cpu", empty}, 1, empty},
		{"not safetensors", []string{"load", "--device", "cpu", broken}, 1, broken},
		{"missing bucket", []string{"load", "--device", "cpu", "s3://no-such-bucket/x"}, 1, "no-such-bucket"},
		{"missing prefix", []string{"load", "--device", "cpu", "s3://" + bucket + "/no-such-model"}, 1, "no-such-model"},
		{"missing manifest", []string{"load", "--device", "cpu", "--expect", missing, source}, 1, missing},
	} {
		t.Run(f.name, func(t *testing.T) { f.check(t, theStage.server.Env(), theStage.Gpuload) })
	}
}

// TestMissingCredentials holds that both programs say so at once when there is
// nobody to ask for credentials, or when they are refused.
func TestMissingCredentials(t *testing.T) {
	mnt := t.TempDir()
	for name, change := range map[string][]string{
		"none":  {"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="},
		"wrong": {"AWS_SECRET_ACCESS_KEY=wrong"},
	} {
		env := append(theStage.server.Env(), change...)
		t.Run("mountd-"+name, func(t *testing.T) {
			failure{args: []string{"s3://" + bucket, mnt}, code: 1, names: "s3://" + bucket}.check(t, env, theStage.Mountd)
		})
		t.Run("gpuload-"+name, func(t *testing.T) {
			failure{args: []string{"load", "--device", "cpu", "s3://" + bucket + "/mixed"}, code: 1, names: bucket}.check(t, env, theStage.Gpuload)
		})
	}
}

// TestBusyMountpoint holds that a second mount over the first one is refused
// and leaves the first one as it is.
func TestBusyMountpoint(t *testing.T) {
	m := theStage.model(t, "mixed")
	first := mount(t, m.dir)
	failure{args: []string{m.dir, first.Dir}, code: 1, names: first.Dir}.check(t, nil, theStage.Mountd)
	output(t, "ls", first.Dir)
}

// TestHelp holds that each command tells what it does, on standard output.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{
		{theStage.Mountd, "--help"}, {theStage.Mountd, "status", "--help"},
		{theStage.Gpuload, "--help"}, {theStage.Gpuload, "load", "--help"}, {theStage.Gpuload, "inspect", "--help"},
	} {
		if out := output(t, args[0], args[1:]...); !strings.Contains(out, "Usage:") {
			t.Errorf("%q printed %q", args, out)
		}
	}
}
