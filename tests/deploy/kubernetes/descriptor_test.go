package kubernetes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/tests/rig"
)

// TestUnprivilegedSidecar holds that a mountd which is nobody, and has no
// capability at all, serves a mount that somebody with the right to mount made,
// to a reader in another mount namespace.
func TestUnprivilegedSidecar(t *testing.T) {
	dir, err := os.MkdirTemp(theStage.base, "d")
	noError(t, err)
	noError(t, os.Chmod(dir, 0o755))
	reader := startPod(t)
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	noError(t, err)
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=65534,group_id=65534,allow_other,default_permissions", device.Fd())
	noError(t, unix.Mount("weightfs", dir, "fuse.weightfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // it is gone where the test went well
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
		theStage.Mountd, "--memory-limit=64Mi", "s3://"+bucket+"/"+prefix, "/dev/fd/3")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, theStage.Server.Env()...)
	cmd.ExtraFiles = []*os.File{device}
	mountd, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() { noError(t, mountd.Kill()) })
	noError(t, device.Close())
	reader.checkReads(t, filepath.Join(dir, object))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", mountd.PID()))
	noError(t, err)
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want+"\n") {
			t.Errorf("not %q:\n%s", want, status)
		}
	}
	noError(t, unix.Unmount(dir, 0))
	if result := reader.run(t, "umount", dir); result.Code != 0 && !strings.Contains(result.Stderr, "not mounted") {
		t.Error(result)
	}
	if code := mountd.Wait(); code != 0 {
		t.Errorf("mountd ended with %d: %s", code, mountd.Output())
	}
}

// TestForeignPIDNamespace holds that a mountd that does not see its readers says
// what to do about it, once, and that one which sees them says nothing.
func TestForeignPIDNamespace(t *testing.T) {
	warning := regexp.MustCompile(`level=WARN.*hostPID: true`)
	for name, wrapper := range map[string][]string{"a namespace of its own": {"unshare", "--pid", "--fork", "--kill-child", "--"}, "the readers'": {"env"}} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(theStage.base, "p")
			noError(t, err)
			args := append(wrapper[1:len(wrapper):len(wrapper)], theStage.Mountd, "--memory-limit=64Mi", "s3://"+bucket+"/"+prefix, dir)
			cmd := exec.Command(wrapper[0], args...)
			cmd.Env = append(os.Environ(), theStage.Server.Env()...)
			mountd, err := rig.StartProcess(cmd)
			noError(t, err)
			t.Cleanup(func() { noError(t, mountd.Kill()) })
			rig.Await(t, "mounted", func() bool {
				mounted, err := rig.IsMounted(dir)
				noError(t, err)
				return mounted
			})
			reader := startPod(t)
			reader.checkReads(t, filepath.Join(dir, object))
			if wrapper[0] == "unshare" {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				if _, err := mountd.AwaitOutput(ctx, warning); err != nil {
					t.Error(err)
				}
			}
			noError(t, reader.Kill())
			rig.Succeed(t, nil, "umount", dir)
			mountd.Wait()
			want := 0
			if wrapper[0] == "unshare" {
				want = 1
			}
			if got := len(warning.FindAllString(mountd.Output(), -1)); got != want {
				t.Errorf("%d warnings, want %d: %s", got, want, mountd.Output())
			}
		})
	}
}
