package packages

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDebianPackage takes a package through its life on a Debian that also serves
// NFS, with a folder mounted over it all.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	root, dist := sourceRoot(t), t.TempDir()
	older := strings.TrimSpace(makeIn(t, root, "deb", "DIST="+dist, "VERSION=0.0.1"))
	newer := strings.TrimSpace(makeIn(t, root, "deb", "DIST="+dist))
	d := newDebian(t)

	d.install(older)
	if line := d.run("mountd", "--version"); !strings.HasPrefix(line, "mountd version 0.0.1 (commit ") {
		t.Errorf("the older one is %q", line)
	}
	checkPackage(d)
	checkPages(d)
	checkCompletion(d)
	checkNFS(d)

	d.configure()
	m := d.mount()
	asked := d.recordSystemctl()
	d.install(newer)
	if said := readFile(t, asked); !regexp.MustCompile("^(--system daemon-reload\n)+$").MatchString(said) {
		t.Errorf("an upgrade has systemd do\n%s", said)
	}
	if line := d.run("mountd", "--version"); !versionLine.MatchString(line) || strings.Contains(line, " 0.0.1 ") {
		t.Errorf("the newer one is %q", line)
	}
	m.checkServes("an upgrade")
	d.checkConfiguration("an upgrade")

	d.run("dpkg", "--remove", "weightfs")
	if said := readFile(t, asked); strings.Count(said, "stop") != 1 || !strings.Contains(said, "\nstop weightfs@*.service\n") {
		t.Errorf("an upgrade and a removal have systemd do\n%s", said)
	}
	if result := d.try("mountd", "--version"); result.Code == 0 {
		t.Error("mountd is there after a removal")
	}
	m.checkServes("a removal")
	d.checkConfiguration("a removal")
	m.unmount()

	d.install(newer)
	d.run("mount", "-t", "weightfs", "/srv/models", "/mnt")
	d.run("umount", "/mnt")
	owned := strings.Fields(d.run("dpkg", "-L", "weightfs"))
	d.run("dpkg", "--purge", "weightfs")
	checkPurged(d, owned)
	checkNFS(d)
}

// configure makes an instance of the unit as its administrator does.
func (d *debian) configure() {
	d.t.Helper()
	d.run("sh", "-ec", `umask 077; echo SOURCE=s3://models >/etc/weightfs/models
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s /lib/systemd/system/weightfs@.service /etc/systemd/system/multi-user.target.wants/weightfs@models.service`)
}

// recordSystemctl has a program in place of systemctl, and of a systemd that runs,
// and returns the file which gets its arguments.
func (d *debian) recordSystemctl() string {
	d.t.Helper()
	d.run("sh", "-ec", `mkdir -p /run/systemd/system
printf '#!/bin/sh\necho "$*" >>/root/asked\n' >/usr/bin/systemctl
chmod +x /usr/bin/systemctl`)
	return filepath.Join(d.root, "root/asked")
}

func (d *debian) checkConfiguration(after string) {
	d.t.Helper()
	if text := d.run("cat", "/etc/weightfs/models"); text != "SOURCE=s3://models\n" {
		d.t.Errorf("after %s the configuration is %q", after, text)
	}
}

// checkPackage checks what dpkg knows of the package, and where its files lie.
func checkPackage(d *debian) {
	d.t.Helper()
	if needed := d.run("dpkg-query", "-W", "-f", "${Status}\n", "ca-certificates", "fuse3"); strings.Count(needed, "install ok installed") != 2 {
		d.t.Errorf("what it needs: %s", needed)
	}
	if differ := d.run("dpkg", "--verify", "weightfs"); differ != "" {
		d.t.Errorf("files differ from the package: %s", differ)
	}
	for _, helper := range []string{"/sbin/mount.weightfs", "/sbin/mount.fuse.weightfs"} {
		if target := d.run("readlink", "-f", helper); target != "/usr/bin/mountd\n" {
			d.t.Errorf("%s leads to %s", helper, target)
		}
	}
	if unit := d.run("cat", "/lib/systemd/system/weightfs@.service"); !strings.Contains(unit, "\nExecStart=/usr/bin/mountd ") {
		d.t.Errorf("the unit does not start /usr/bin/mountd:\n%s", unit)
	}
	if conffiles := d.run("dpkg-query", "-W", "-f", "${Conffiles}", "weightfs"); conffiles != "" {
		d.t.Errorf("what an administrator does not edit is a conffile: %s", conffiles)
	}
	for _, path := range strings.Fields(d.run("dpkg", "-L", "weightfs")) {
		if strings.HasPrefix(path, "/usr/local/") || strings.HasPrefix(path, "/lib/") || strings.HasPrefix(path, "/sbin/") {
			d.t.Errorf("%s is no place for a package's file", path)
		}
	}
}

// checkPages checks that man finds and renders every page.
func checkPages(d *debian) {
	d.t.Helper()
	var pages []string
	for _, path := range strings.Fields(d.run("dpkg", "-L", "weightfs")) {
		name, found := strings.CutSuffix(path, ".gz")
		if !found || !strings.HasPrefix(path, "/usr/share/man/") {
			continue
		}
		section := strings.TrimPrefix(filepath.Ext(name), ".")
		page := strings.TrimSuffix(filepath.Base(name), "."+section)
		pages = append(pages, page+"."+section)
		if at := d.run("man", "-w", section, page); at != path+"\n" {
			d.t.Errorf("man %s %s is %s", section, page, at)
		}
		result := d.try("man", "--warnings", "-E", "UTF-8", section, page)
		if result.Code != 0 || result.Stderr != "" || !strings.Contains(result.Stdout, "SYNOPSIS") {
			d.t.Errorf("man %s %s: exit %d, %s\n%s", section, page, result.Code, result.Stderr, result.Stdout)
		}
	}
	for _, page := range []string{"weightfs-mountd.8", "weightfs-mountd-status.8", "weightfs-mountd-clean.8", "mount.weightfs.8", "gpuload.1", "gpuload-load.1"} {
		if !slices.Contains(pages, page) {
			d.t.Errorf("there is no page %s among %v", page, pages)
		}
	}
	if page := d.run("man", "8", "weightfs-mountd"); !strings.Contains(page, "--memory-limit") || !strings.Contains(page, "weightfs-mountd-status(8)") {
		d.t.Errorf("man 8 weightfs-mountd:\n%s", page)
	}
	if page := d.run("man", "8", "mount.weightfs"); !strings.Contains(page, "memory_limit=") || !strings.Contains(page, "env_file=") {
		d.t.Errorf("man 8 mount.weightfs:\n%s", page)
	}
}

// checkCompletion completes command lines as bash does at a tab.
func checkCompletion(d *debian) {
	d.t.Helper()
	const press = `source /usr/share/bash-completion/bash_completion
_completion_loader "$1"; declare -f "__start_$1" >/dev/null
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
compopt() { :; } # bash has it while it completes only
"__start_$1"
printf '%s\n' "${COMPREPLY[@]}"`
	for line, want := range map[string]string{
		"mountd sta": "status", "mountd --prefe": "--prefetch", "mountd --prefetch seq": "sequential", "gpuload in": "inspect", "gpuload load --hash xx": "xxh3",
	} {
		args := append([]string{"bash", "-c", press, "bash"}, strings.Fields(line)...)
		if words := d.run(args...); strings.TrimRight(strings.TrimSpace(words), "=") != want {
			d.t.Errorf("%q is completed by %q", line, words)
		}
	}
}

// checkNFS checks that the server of NFS has all of its files as it brought them.
func checkNFS(d *debian) {
	d.t.Helper()
	if differ := d.run("dpkg", "--verify", "nfs-kernel-server"); differ != "" {
		d.t.Errorf("files of nfs-kernel-server changed: %s", differ)
	}
	page := strings.TrimSpace(d.run("man", "-w", "8", "mountd"))
	if owner := d.run("dpkg", "-S", page); !strings.HasPrefix(owner, "nfs-kernel-server:") {
		d.t.Errorf("man 8 mountd is of %s", owner)
	}
	if result := d.try("test", "-x", "/usr/sbin/rpc.mountd"); result.Code != 0 {
		d.t.Error("rpc.mountd is gone")
	}
}

// checkPurged checks that nothing is left of a package that had the files owned.
func checkPurged(d *debian, owned []string) {
	d.t.Helper()
	for _, path := range owned {
		if path != "/." && d.try("test", "-e", path).Code == 0 && d.try("dpkg", "-S", path).Code != 0 {
			d.t.Errorf("%s is left", path)
		}
	}
	// man keeps what it rendered, and /root has the files that were installed from.
	left := d.run("find", "/", "-xdev", "(", "-path", "/var/cache/man", "-o", "-path", "/root", ")", "-prune", "-o", "-name", "*weightfs*", "-print")
	if left += d.run("find", "/run", "-name", "*weightfs*"); left != "" {
		d.t.Errorf("after a purge there are\n%s", left)
	}
}
