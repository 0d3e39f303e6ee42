package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// nobody is the user of an unprivileged mountd.
const nobody = 65534

// unmountGrace is how long an unprivileged mountd may take to end.
const unmountGrace = 30 * time.Second

// unprivileged is a mount of the folder by a mountd without rights: it serves a
// descriptor of /dev/fuse that we have mounted, so that the kernel passes no file
// through and reads ahead as far as it does by itself.
func unprivileged(ctx context.Context, l *bench, d dataset, f files) (_ place, err error) {
	dir, err := os.MkdirTemp(l.Disk, "unprivileged-")
	if err != nil {
		return place{}, err
	}
	device, err := mountDevice(dir)
	if err != nil {
		return place{}, errors.Join(err, os.Remove(dir))
	}
	proc, err := l.serveAsNobody(device)
	end := func() error { return errors.Join(unix.Unmount(dir, 0), os.Remove(dir)) }
	if err = errors.Join(err, device.Close()); err != nil {
		return place{}, errors.Join(err, end())
	}
	p := place{found: f.in(dir, d), uncounted: true} // a mountd without a folder for its control socket has no status
	p.close = func() error { return errors.Join(proc.Stop(unmountGrace), end()) }
	// The first request is answered once mountd serves.
	if out, err := exec.CommandContext(ctx, "ls", "-d", dir+"/").CombinedOutput(); err != nil {
		return place{}, errors.Join(fmt.Errorf("unprivileged mountd: %w: %s: %s", err, out, proc.Output()), p.close())
	}
	return p, nil
}

// mountDevice mounts a new descriptor of /dev/fuse at dir, for nobody to serve.
func mountDevice(dir string) (*os.File, error) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	options := []string{
		fmt.Sprintf("fd=%d", device.Fd()), "rootmode=40000",
		fmt.Sprintf("user_id=%d,group_id=%d", nobody, nobody),
		"allow_other", "default_permissions", fmt.Sprintf("max_read=%d", mib),
	}
	err = unix.Mount("weightfs", dir, "fuse.weightfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, strings.Join(options, ","))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", dir, err), device.Close())
	}
	return device, nil
}

// serveAsNobody starts a mountd that serves the local datasets through device.
func (l *bench) serveAsNobody(device *os.File) (*rig.Process, error) {
	for _, dir := range []string{l.Disk, l.localDir()} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(l.Mountd, l.localDir(), "/dev/fd/3")
	cmd.ExtraFiles = []*os.File{device} // descriptor 3 there
	cmd.Dir = l.Disk
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+os.DevNull, "HOME="+l.Disk)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return rig.StartProcess(cmd)
}
