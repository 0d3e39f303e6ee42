package kubernetes

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"testing"

	"weightfs/tests/rig"
)

// pod is a process in a mount namespace of its own, to which mounts of the node
// travel, as they do to a pod with HostToContainer propagation.
type pod struct{ *rig.Process }

// startPod starts one until the test ends.
func startPod(t *testing.T) pod {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", "echo started; exec sleep infinity")
	p, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() { noError(t, p.Kill()) })
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err = p.AwaitOutput(ctx, regexp.MustCompile("started"))
	noError(t, err)
	return pod{p}
}

// run runs a command in the pod.
func (p pod) run(t *testing.T, args ...string) rig.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	result, err := rig.Run(ctx, nil, "nsenter", append([]string{"--target", fmt.Sprint(p.PID()), "--mount", "--"}, args...)...)
	noError(t, err)
	return result
}

// digest is what the pod reads of a file, as sha256sum prints it.
func (p pod) digest(t *testing.T, file string) string {
	t.Helper()
	result := p.run(t, "sh", "-c", `sha256sum <"$0"`, file)
	if result.Code != 0 {
		return "failed: " + result.Stderr
	}
	return result.Stdout
}

// checkReads holds that the pod reads the right bytes.
func (p pod) checkReads(t *testing.T, file string) {
	t.Helper()
	if got := p.digest(t, file); got != theStage.digest {
		t.Errorf("the pod reads %q, want %q", got, theStage.digest)
	}
}
