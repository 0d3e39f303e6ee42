package faults

import (
	"os"
	"os/exec"
	"testing"

	"weightfs/tests/rig"
)

// asNobody is the command under which programs run as a user without rights.
func asNobody() []string {
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
}

// mountUnder mounts source with a mountd that runs under a command, at a
// mountpoint that everybody may use, for the length of the test.
func mountUnder(t *testing.T, prefix []string, source string, flags ...string) *rig.Mount {
	t.Helper()
	dir, err := os.MkdirTemp("", "mnt-")
	noError(t, err)
	t.Cleanup(func() { os.Remove(dir) })
	noError(t, os.Chmod(dir, 0o777))
	args := append(append([]string{}, prefix...), theStage.Mountd)
	args = append(append(args, flags...), source, dir)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), theStage.Server.Env()...)
	process, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() {
		if err := process.Stop(childLimit); err != nil || process.Wait() != 0 {
			t.Errorf("mountd exited with %d, %v", process.Wait(), err)
		}
		checkUnmounted(t, dir)
		if t.Failed() {
			t.Logf("mountd wrote:\n%s", process.Output())
		}
	})
	if awaitLogged(t, process, "msg=mounted") == nil {
		t.FailNow()
	}
	return &rig.Mount{Dir: dir, Process: process}
}
