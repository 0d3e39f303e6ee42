package fs_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

// nobody is a user without rights.
const nobody = 65534

// childServe gives up root, shows a folder at a mountpoint until stdin ends,
// and unmounts. Before, in a mount namespace of its own, it makes /dev/fuse
// what it is on most machines: open to all.
func childServe(args []string) error {
	source, mountpoint, device := args[0], args[1], args[2]
	if err := openDevice(device); err != nil {
		return err
	}
	if err := becomeNobody(); err != nil {
		return err
	}
	store, err := remote.OpenLocal(source, remote.LocalConfig{})
	if err != nil {
		return err
	}
	defer store.Close()
	cache, err := prefetch.New(store, prefetch.Config{MemoryLimit: 64 << 20})
	if err != nil {
		return err
	}
	defer cache.Close()
	known, err := names.New(store, names.Config{})
	if err != nil {
		return err
	}
	defer known.Close()
	server, err := fs.Mount(mountpoint, store, cache, known, fs.Config{
		Source: "a,b\\c d", UID: nobody, GID: nobody, FileMode: fs.DefaultFileMode, DirMode: fs.DefaultDirMode,
	})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return server.Unmount(context.Background())
}

// becomeNobody gives up root for good.
func becomeNobody() error {
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return err
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return err
	}
	// So that a reader of the same user may enter by /proc/PID/root.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
}

// openDevice puts a node that everybody may open over /dev/fuse.
func openDevice(name string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		return err
	}
	if err := os.Chmod(name, 0o666); err != nil {
		return err
	}
	return unix.Mount(name, "/dev/fuse", "", unix.MS_BIND, "")
}

// Without root, fusermount3 mounts and unmounts.
func TestMountByHelper(t *testing.T) {
	base, data := publicDir(t), randomBytes(3<<20)
	source, mountpoint := helperFolders(t, base, data)
	cmd := childCommand(t, "serve", source, mountpoint, filepath.Join(base, "fuse"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, stdout := pipes(t, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !stdout.Scan() {
		cmd.Wait()
		t.Fatalf("the child did not mount: %s", &stderr)
	}
	// The mount is in the child's namespace, and for its user alone.
	inside := fmt.Sprintf("/proc/%d/root%s/f", cmd.Process.Pid, mountpoint)
	reader := exec.Command("sha256sum", inside)
	reader.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if got, err := reader.CombinedOutput(); err != nil || !strings.HasPrefix(string(got), digest(data)) {
		t.Errorf("sha256sum: %v: %s", err, got)
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid))
	if want := ` fuse.weightfs a,b\134c\040d ro`; err != nil || !strings.Contains(string(info), want) {
		t.Errorf("no %q in: %v\n%s", want, err, info)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child: %v: %s", err, &stderr)
	}
}

// helperFolders makes a source with the file f, and a mountpoint of nobody's.
func helperFolders(t *testing.T, base string, data []byte) (source, mountpoint string) {
	t.Helper()
	source, mountpoint = filepath.Join(base, "source"), filepath.Join(base, "mnt")
	for _, dir := range []string{source, mountpoint} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(mountpoint, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return source, mountpoint
}

// publicDir is a folder that everybody may enter.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weightfs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pipes connects to a command's stdin and to the lines of its stdout.
func pipes(t *testing.T, cmd *exec.Cmd) (io.WriteCloser, *bufio.Scanner) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return stdin, bufio.NewScanner(stdout)
}
