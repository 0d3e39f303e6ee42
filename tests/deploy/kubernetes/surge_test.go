package kubernetes

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weightfs/tests/rig"
)

// startSurgePod starts a mountd as in a pod of the DaemonSet: in a mount namespace of
// its own, from which its mount travels to the node, as with Bidirectional propagation.
// It ends with the test if not before.
func startSurgePod(t *testing.T, source, mountpoint string, more ...string) *rig.Process {
	t.Helper()
	args := []string{"--mount", "--propagation", "unchanged", "--", theStage.Mountd, "--take-over", "--memory-limit=64Mi"}
	cmd := exec.Command("unshare", append(append(args, more...), source, mountpoint)...)
	cmd.Env = append(os.Environ(), theStage.Server.Env()...)
	p, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() {
		noError(t, rig.KillMountd(p.PID()))
		if t.Failed() {
			t.Log(p.Output())
		}
	})
	return p
}

// exitCode waits for the end of a process, and returns its exit code.
func exitCode(t *testing.T, p *rig.Process) int {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(limit):
		t.Fatalf("it does not end: %s", p.Output())
	}
	return p.Wait()
}

// readOn reads a file again and again, and by a descriptor that stays open, until there
// is a file "stop".
const readOn = `exec 9<"$0"
echo open
while [ ! -e "$1/stop" ]; do sha256sum <"$0" || exit 1; dd if="$0" iflag=direct bs=1M status=none | sha256sum || exit 1; done
sha256sum <&9`

// TestSurge is an update of the DaemonSet with maxSurge: the pod that comes takes the
// mount over from the one that is there, which ends when it is told to and takes
// nothing along. Pods that read see nothing of it, nor of one that cannot take over.
func TestSurge(t *testing.T) {
	dir, err := os.MkdirTemp(theStage.base, "u")
	noError(t, err)
	mountpoint := filepath.Join(dir, "models")
	noError(t, os.Mkdir(mountpoint, 0o755))
	await := func(p *rig.Process, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if _, err := p.AwaitOutput(ctx, regexp.MustCompile(text)); err != nil {
			t.Fatal(err)
		}
	}
	source := "s3://" + bucket + "/" + prefix
	first := startSurgePod(t, source, mountpoint)
	await(first, "msg=mounted")
	file := filepath.Join(mountpoint, object)
	early := startPod(t)
	rig.Await(t, "the mount answers", func() bool { return early.digest(t, file) == theStage.digest })
	reader, err := rig.StartProcess(exec.Command("nsenter", "--target", strconv.Itoa(early.PID()), "--mount", "--", "sh", "-c", readOn, file, dir))
	noError(t, err)
	t.Cleanup(func() { noError(t, reader.Kill()) })
	await(reader, "open")

	for _, refused := range [][]string{{"--endpoint-url=http://127.0.0.1:1"}, {"--env-file=/nowhere"}} {
		p := startSurgePod(t, source, mountpoint, refused...)
		if code := exitCode(t, p); code != 1 {
			t.Errorf("with %s, exit %d: %s", refused, code, p.Output())
		}
		early.checkReads(t, file)
	}
	other := startSurgePod(t, "s3://"+bucket, mountpoint)
	if code := exitCode(t, other); code != 1 || !strings.Contains(other.Output(), "it serves "+source) {
		t.Errorf("with another source, exit %d: %s", code, other.Output())
	}

	last := first
	for range 3 {
		next := startSurgePod(t, source, mountpoint, "--memory-limit=96Mi")
		await(next, "took the mount over")
		await(last, "another mountd serves the mount")
		noError(t, last.Signal(os.Interrupt))
		if code := exitCode(t, last); code != 0 {
			t.Errorf("the pod before ends with %d: %s", code, last.Output())
		}
		early.checkReads(t, file)
		startPod(t).checkReads(t, file)
		last = next
	}
	rig.Await(t, "its status", func() bool {
		status, err := rig.Run(t.Context(), nil, theStage.Mountd, "status", "--json", mountpoint)
		return err == nil && strings.Contains(status.Stdout, `"memory_limit":100663296,`)
	})
	noError(t, os.WriteFile(filepath.Join(dir, "stop"), nil, 0o644))
	if code := exitCode(t, reader); code != 0 {
		t.Errorf("the reader ends with %d", code)
	}
	for line := range strings.Lines(reader.Output()) {
		if line != "open\n" && line != theStage.digest {
			t.Errorf("it has read %q", line)
		}
	}
	noError(t, last.Stop(limit))
	if code := exitCode(t, last); code != 0 {
		t.Errorf("the last pod ends with %d: %s", code, last.Output())
	}
	if result := early.run(t, "ls", mountpoint); result.Code != 0 || result.Stdout != "" {
		t.Errorf("after a clean end the pod sees: %+v", result)
	}
}
