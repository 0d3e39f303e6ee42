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

// defects are panics put into a copy of the program, before a line of a file:
// nothing of them is in what is shipped. One is in the handler of a READ from 8 to
// 9 MiB of any file, one in what leases that range to other processes, and one in what
// both call for 4 to 5 MiB, with the lock of the object held.
func defects() [][3]string {
	return [][3]string{
		{"fs/device.go", "		view, errno = d.tree.read(interrupted, in, file)", `	if in.Offset>>20 == 8 { panic("a defect") }`},
		{"cmd/mountd/leasestore.go", "	view, err := f.reader.ViewExpected(", `	if r.Offset>>20 == 8 { panic("a defect") }`},
		{"prefetch/view.go", "	hit, first, err := c.arena.Hit(", `	if v.end()-1 >= 4<<20 && v.off < 5<<20 { panic("a defect with the lock") }`},
	}
}

// buildDefective builds a mountd that has the defects and returns its path.
func buildDefective(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	noError(t, err)
	dir, replaced := t.TempDir(), map[string]string{}
	for i, d := range defects() {
		source, changed := filepath.Join(root, d[0]), filepath.Join(dir, fmt.Sprint(i, ".go"))
		text, err := os.ReadFile(source)
		noError(t, err)
		if strings.Count(string(text), d[1]) != 1 {
			t.Fatalf("%s has no line %q", d[0], d[1])
		}
		noError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), d[1], d[2]+"\n"+d[1], 1)), 0o644))
		replaced[source] = changed
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dir, "overlay"), overlay, 0o644))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", filepath.Join(dir, "overlay"), "-o", dir+"/mountd", "./cmd/mountd")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return dir + "/mountd"
}

// TestPanicInHandler holds that a defect costs the reader that meets it an EIO,
// and nobody anything else: the daemon serves on, and unmounts.
func TestPanicInHandler(t *testing.T) {
	t.Parallel()
	programs := *theStage.Programs
	programs.Mountd = buildDefective(t)
	for _, way := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			errno := errnoOfWay(way, "EIO")
			m := programs.MountFor(t, rig.MountOptions{
				Source: "s3://" + bucket, Env: theStage.Server.Env(), Args: []string{"--memory-limit", "32Mi", "--part-size", "1Mi"},
			})
			checkAtEnd(t, m)
			r := &scene{t: t, mount: m}
			o := r.read(way)
			if o.errno() != errno {
				t.Errorf("the reader got: %v", o)
			}
			for _, flags := range []string{"count=1", "skip=12 iflag=direct", "skip=8 count=1 iflag=direct", "skip=4 count=1 iflag=direct"} {
				dd := append([]string{"if=" + r.file(), "of=/dev/null", "bs=1M"}, strings.Fields(flags)...)
				failed := runChild(t, nil, "dd", dd...).Code != 0
				if defective := strings.HasPrefix(flags, "skip=8") || strings.HasPrefix(flags, "skip=4"); failed != defective {
					t.Errorf("dd %s failed: %t", flags, failed)
				}
			}
			panics := measures(t, m.Dir)["panics_total"]
			if panics < 2 {
				t.Errorf("%d panics are counted", panics)
			}
			awaitLogged(t, m.Process, "a defect with the lock")
		})
	}
}
