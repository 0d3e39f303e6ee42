package kubernetes

import (
	"os"
	"path/filepath"
	"testing"

	"weightfs/tests/rig"
)

// TestDaemonSet holds what a pod sees through the folder above the mount, as the
// DaemonSet's pods do: the mount that comes after the pod, its death, the mount of
// the next daemon in the same place, and its clean end.
func TestDaemonSet(t *testing.T) {
	dir, err := os.MkdirTemp(theStage.base, "s")
	noError(t, err)
	mountpoint := filepath.Join(dir, "models")
	noError(t, os.Mkdir(mountpoint, 0o755))
	early := startPod(t)
	programs := &rig.Programs{Mountd: theStage.program("mountd")}
	options := rig.MountOptions{Source: "s3://" + bucket + "/" + prefix, Dir: mountpoint, Args: []string{"--memory-limit=64Mi"}, Env: theStage.server.Env()}
	file := filepath.Join(mountpoint, object)
	first, err := programs.Mount(t.Context(), options)
	noError(t, err)
	early.checkReads(t, file)
	noError(t, first.Kill())
	if result := early.run(t, "ls", mountpoint); result.Code == 0 {
		t.Error("a dead mount can be listed")
	}
	second := programs.MountFor(t, options)
	early.checkReads(t, file)
	startPod(t).checkReads(t, file)
	noError(t, second.Close())
	if result := early.run(t, "ls", mountpoint); result.Code != 0 || result.Stdout != "" {
		t.Errorf("after a clean end the pod sees: %+v", result)
	}
}
