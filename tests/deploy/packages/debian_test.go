package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"weightfs/tests/rig"
)

// What the Debian of a test has, and what its apt can install without a network.
const (
	debianHas        = "man-db bash-completion nfs-kernel-server"
	debianCanInstall = "ca-certificates fuse3"
)

// debian is a Debian in namespaces of its own, without a network: with its
// first process ends all that was started and mounted there.
type debian struct {
	t    *testing.T
	root string   // its files
	from []string // a command line that runs the rest of it there
}

// newDebian unpacks a Debian and starts a process in it, until the test ends.
func newDebian(t *testing.T) *debian {
	t.Helper()
	d := &debian{t: t, root: filepath.Join(t.TempDir(), "debian")}
	if err := os.Mkdir(d.root, 0o755); err != nil {
		t.Fatal(err)
	}
	output(t, "tar", "-C", d.root, "--numeric-owner", "-xf", debianTarball(t))
	// The process writes its id of out here: it reads the table of processes that
	// was mounted before it has a table of its own.
	const start = `set -e
read -r id rest </proc/self/stat
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
touch "$1/dev/fuse"
mount --bind /dev/fuse "$1/dev/fuse"
echo "started $id"
exec chroot "$1" sleep infinity`
	command := append(rig.OwnMounts("--net", "--pid", "--fork", "--kill-child"), "sh", "-c", start, "sh", d.root)
	first, err := rig.StartProcess(exec.Command(command[0], command[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := first.Kill(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	defer cancel()
	started, err := first.AwaitOutput(ctx, regexp.MustCompile(`started (\d+)\n`))
	if err != nil {
		t.Fatal(err)
	}
	d.from = []string{"nsenter", "--target", started[1], "--net", "--mount", "--pid", "--root", "--wd",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	return d
}

// debianTarball is a tarball of such a Debian, which is made once and kept.
func debianTarball(t *testing.T) string {
	t.Helper()
	root := sourceRoot(t)
	script := filepath.Join(root, "tests", "tools", "debian.sh")
	key := sha256.Sum256([]byte(readFile(t, script) + readFile(t, "/etc/os-release") + debianHas + debianCanInstall))
	tarball := filepath.Join(root, ".tools", "debian-"+hex.EncodeToString(key[:6])+".tar")
	if _, err := os.Stat(tarball); err != nil {
		command := append(rig.OwnMounts(), script, tarball, debianHas, debianCanInstall)
		output(t, command[0], command[1:]...)
	}
	return tarball
}

// command is a child in there.
func (d *debian) command(args ...string) *exec.Cmd {
	line := append(append([]string{}, d.from...), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// try runs a child in there to its end.
func (d *debian) try(args ...string) rig.Result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), hangLimit)
	defer cancel()
	result, err := rig.Run(ctx, nil, d.from[0], append(append([]string{}, d.from[1:]...), args...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	return result
}

// run runs a child in there that must succeed, and returns what it printed.
func (d *debian) run(args ...string) string {
	d.t.Helper()
	result := d.try(args...)
	if result.Code != 0 {
		d.t.Fatalf("%s: exit %d: %s%s", strings.Join(args, " "), result.Code, result.Stdout, result.Stderr)
	}
	return result.Stdout
}

// install has apt install a package file with all that it needs, without a network.
func (d *debian) install(deb string) {
	d.t.Helper()
	name := filepath.Base(deb)
	output(d.t, "cp", deb, filepath.Join(d.root, "root", name))
	d.run("apt-get", "-q", "--yes", "install", "/root/"+name)
}
