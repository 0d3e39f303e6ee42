package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"weightfs/tests/proxy"
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
	options := rig.MountOptions{Source: "s3://" + bucket + "/" + prefix, Dir: mountpoint, Args: []string{"--memory-limit=64Mi"}, Env: theStage.Server.Env()}
	file := filepath.Join(mountpoint, object)
	first, err := theStage.Mount(t.Context(), options)
	noError(t, err)
	early.checkReads(t, file)
	noError(t, first.Kill())
	if result := early.run(t, "ls", mountpoint); result.Code == 0 {
		t.Error("a dead mount can be listed")
	}
	second := theStage.MountFor(t, options)
	early.checkReads(t, file)
	startPod(t).checkReads(t, file)
	noError(t, second.Close())
	if result := early.run(t, "ls", mountpoint); result.Code != 0 || result.Stdout != "" {
		t.Errorf("after a clean end the pod sees: %+v", result)
	}
}

// TestKilledReaderOfAPod holds that a pod's process, which has a PID namespace of
// its own below the one of mountd, can be killed while it waits for a store that
// says nothing.
func TestKilledReaderOfAPod(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	dir, err := os.MkdirTemp(theStage.base, "k")
	noError(t, err)
	m := theStage.MountFor(t, rig.MountOptions{
		Source: "s3://" + bucket + "/" + prefix, Dir: dir, Env: theStage.Server.Env(),
		Args: []string{"--memory-limit=64Mi", "--read-timeout=1h", "--endpoint-url", p.Endpoint},
	})
	file := filepath.Join(m.Dir, object)
	startPod(t).run(t, "stat", file)
	p.SetRules(1, proxy.Rule{Op: "GET", Fault: proxy.Fault{End: proxy.Stall, After: 1000}})
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "cat", file)
	cmd.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	noError(t, err)
	pod, err := rig.StartProcess(cmd)
	noError(t, err)
	rig.Await(t, "a request that stalls", func() bool { return p.Stats().Faults > 0 })
	reading := func() int { return len(running(t, "cat", file)) }
	if reading() != 1 {
		t.Errorf("%d processes read", reading())
	}
	noError(t, pod.Signal(os.Kill))
	rig.Await(t, "the reader ends", func() bool { return reading() == 0 })
	pod.Wait()
}
