package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// OwnMounts is the beginning of a command that runs in a mount namespace of its own,
// with further namespaces by the flags of unshare(1). The mounts of tests that run
// beside it are no part of that: they could not end.
func OwnMounts(flags ...string) []string {
	const leave = `umount --all --lazy --no-canonicalize --types fuse.weightfs,fuse.rclone,fuse.s3fs; exec "$@"`
	return append(append([]string{"unshare", "--mount", "--propagation", "private"}, flags...), "sh", "-c", leave, "sh")
}

// insideVariable says that the namespaces are there.
const insideVariable = "_WEIGHTFS_INSIDE"

// RunInside runs this program again in a mount namespace and a PID namespace of its
// own, and those of further flags of unshare(1), and returns its exit code: whatever
// it starts or mounts ends with it, however it ends. In the program that runs inside,
// again is false.
func RunInside(flags ...string) (code int, again bool) {
	if os.Getenv(insideVariable) != "" {
		return 0, false
	}
	args := append(OwnMounts(append(flags, "--pid", "--fork", "--kill-child", "--mount-proc")...), os.Args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	runtime.LockOSThread() // whose end, and not the program's, is what Pdeathsig is sent at
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), true
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "namespaces:", err)
		return 1, true
	}
	return 0, true
}
