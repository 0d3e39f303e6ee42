package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// defect is a panic put into a copy of the program: nothing of it is in what is
// shipped.
type defect struct {
	name string
	// file is changed: panics stands before the line that begins with at.
	file, at, panics string
}

// defects are in the handler of a READ, and in what it calls, with the lock of
// an object held: at the bytes from 8 to 9 MiB of any file.
func defects() []defect {
	return []defect{
		{"in the handler of READ", "fs/device.go", "	view, errno := d.tree.read(interrupted, in)",
			`	if in.Offset>>20 == 8 { panic("a defect") }`},
		{"under an object's lock", "prefetch/object.go", "	m := o.streams.Match(",
			`	if v.end()-1 >= 8<<20 && v.off < 9<<20 { panic("a defect") }`},
	}
}

// build builds a mountd that has the defect and returns its path.
func (d defect) build(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(root, d.file)
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), d.at) != 1 {
		t.Fatalf("%s has no line %q", d.file, d.at)
	}
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay"), filepath.Join(dir, "mountd")
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		changed: strings.Replace(string(text), d.at, d.panics+"\n"+d.at, 1), overlay: string(replaced),
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "./cmd/mountd")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return program
}

// TestPanicInHandler holds that a defect costs the reader that meets it an EIO,
// and nobody anything else: the daemon serves on, and unmounts.
func TestPanicInHandler(t *testing.T) {
	for _, d := range defects() {
		t.Run(d.name, func(t *testing.T) {
			programs := *theStage.Programs
			programs.Mountd = d.build(t)
			for _, way := range ways() {
				t.Run(way, func(t *testing.T) {
					t.Parallel()
					errno := errnoOfWay(way, "EIO")
					seen := seenBy(t, errno+", serves on, exit 0")
					m := mountProgram(t, &programs)
					r := &scene{t: t, mount: m}
					o := r.read(way)
					fmt.Fprintf(seen, "%v", o)
					if len(o.Failures) == 0 || o.Failures[0].Errno != errno {
						t.Errorf("the reader got: %v", o)
					}
					succeed(t, "dd", "if="+r.file(), "of=/dev/null", "bs=1M", "count=4", "status=none")
					succeed(t, "dd", "if="+r.file(), "of=/dev/null", "bs=1M", "skip=12", "iflag=direct", "status=none")
					panics := measures(t, m.Dir)["panics_total"]
					fmt.Fprintf(seen, "; %d panics", panics)
					if panics == 0 {
						t.Error("no panic is counted")
					}
					awaitLogged(t, m.Process, "a defect")
				})
			}
		})
	}
}

// mountProgram mounts the bucket by other programs, for the length of the test.
func mountProgram(t *testing.T, programs *rig.Programs) *rig.Mount {
	t.Helper()
	m, err := programs.Mount(t.Context(), rig.MountOptions{
		Source: "s3://" + bucket, Env: theStage.server.Env(), Args: []string{"--memory-limit", "32Mi", "--part-size", "1Mi"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkNobodyAt(t, m.Dir) })
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	checkAtEnd(t, m)
	return m
}
