package packages

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// installed are files that an installation has, and their permissions.
var installed = map[string]os.FileMode{
	"/bin/mountd":                                  0o755,
	"/bin/gpuload":                                 0o755,
	"/lib/systemd/system/weightfs@.service":        0o644,
	"/lib/systemd/system/weightfs-clean@.service":  0o644,
	"/share/man/man8/weightfs-mountd.8":            0o644,
	"/share/man/man8/weightfs-mountd-status.8":     0o644,
	"/share/man/man8/mount.weightfs.8":             0o644,
	"/share/man/man1/gpuload.1":                    0o644,
	"/share/man/man1/gpuload-load.1":               0o644,
	"/share/bash-completion/completions/mountd":    0o644,
	"/share/bash-completion/completions/gpuload":   0o644,
	"/share/fish/vendor_completions.d/mountd.fish": 0o644,
	"/share/zsh/site-functions/_mountd":            0o644,
	"/share/doc/weightfs/LICENSE":                  0o644,
	"/share/doc/weightfs/examples/fstab":           0o644,
}

// versionLine is what --version prints.
var versionLine = regexp.MustCompile(`^(mountd|gpuload) version (\S+) \(commit [0-9a-f]{40}, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)\n$`)

func TestInstallAndUninstall(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"/usr/local", "/opt/weightfs"} {
		t.Run(prefix, func(t *testing.T) {
			dest := t.TempDir()
			args := []string{"DESTDIR=" + dest, "PREFIX=" + prefix}
			makeIn(t, sourceRoot(t), append(args, "install")...)
			checkInstalled(t, dest, prefix)

			// An earlier version had a file that this one has not.
			stale, notes := prefix+"/bin/weightfs-of-old", dest+prefix+"/share/weightfs/installed"
			writeFile(t, dest+stale, "")
			writeFile(t, notes, readFile(t, notes)+stale+"\n")
			// What others have there is not ours to remove.
			writeFile(t, dest+prefix+"/share/man/man8/mountd.8", "of others")
			writeFile(t, dest+"/etc/weightfs/models", "SOURCE=s3://models\n")
			makeIn(t, sourceRoot(t), append(args, "install")...)
			if _, err := os.Lstat(dest + stale); !os.IsNotExist(err) {
				t.Errorf("%s of an earlier version: %v", stale, err)
			}
			checkInstalled(t, dest, prefix)

			makeIn(t, sourceRoot(t), append(args, "uninstall")...)
			left := filesBelow(t, dest)
			if len(left) != 2 || left["/etc/weightfs/models"] == nil || left[prefix+"/share/man/man8/mountd.8"] == nil {
				t.Errorf("after the removal there are %v", left)
			}
		})
	}
}

// TestUninstallLeavesNothing removes an installation that was not configured.
func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	makeIn(t, sourceRoot(t), "DESTDIR="+dest, "install")
	makeIn(t, sourceRoot(t), "DESTDIR="+dest, "uninstall")
	if left := filesBelow(t, dest); len(left) != 0 {
		t.Errorf("after the removal there are %v", left)
	}
	if left := output(t, "find", dest, "-name", "*weightfs*"); left != "" {
		t.Errorf("after the removal there are\n%s", left)
	}
}

// checkInstalled checks an installation below dest.
func checkInstalled(t *testing.T, dest, prefix string) {
	t.Helper()
	found := filesBelow(t, dest)
	for path, mode := range installed {
		switch info := found[prefix+path]; {
		case info == nil:
			t.Errorf("%s is missing", prefix+path)
		case info.Mode() != mode:
			t.Errorf("%s has mode %v", prefix+path, info.Mode())
		}
	}
	for _, helper := range []string{"/sbin/mount.weightfs", "/sbin/mount.fuse.weightfs"} {
		if target, err := os.Readlink(dest + helper); err != nil || target != prefix+"/bin/mountd" {
			t.Errorf("%s leads to %q, %v", helper, target, err)
		}
	}
	unit := readFile(t, dest+prefix+"/lib/systemd/system/weightfs@.service")
	if !strings.Contains(unit, "\nExecStart="+prefix+"/bin/mountd ") || strings.Count(unit, "/bin/mountd ") != strings.Count(unit, prefix+"/bin/mountd ") {
		t.Errorf("the unit does not start %s/bin/mountd:\n%s", prefix, unit)
	}
	if info, err := os.Stat(dest + "/etc/weightfs"); err != nil || !info.IsDir() {
		t.Errorf("/etc/weightfs: %v", err)
	}
	for _, program := range []string{"mountd", "gpuload"} {
		if line := output(t, dest+prefix+"/bin/"+program, "--version"); !versionLine.MatchString(line) {
			t.Errorf("%s --version: %q", program, line)
		}
	}
}

// TestVersionsSort follows a history, whose versions dpkg must sort by age.
func TestVersionsSort(t *testing.T) {
	t.Parallel()
	repo := t.TempDir()
	script := filepath.Join(repo, "deploy", "package", "version.sh")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, script, readFile(t, filepath.Join(sourceRoot(t), "deploy", "package", "version.sh")))
	git := func(args ...string) {
		output(t, "env", append([]string{"GIT_CONFIG_GLOBAL=/dev/null", "git", "-C", repo, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
	}
	var versions []string
	record := func(want string) {
		fields := strings.Fields(output(t, "bash", script))
		if len(fields) != 3 || !regexp.MustCompile("^"+want+"$").MatchString(fields[0]) {
			t.Fatalf("version.sh prints %q, want %s", fields, want)
		}
		versions = append(versions, fields[0])
	}
	record(`0\.0\.0`) // no repository yet
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one", "--date", "2026-01-01T00:00:00Z")
	record(`0\.1\.0~git\d{14}\.[0-9a-f]{7}`)
	writeFile(t, script+".other", "")
	git("add", ".")
	record(`0\.1\.0~git\d{14}\.[0-9a-f]{7}\+dirty`)
	git("commit", "-q", "-m", "two")
	git("tag", "v0.1.0")
	record(`0\.1\.0`)
	git("commit", "-q", "--allow-empty", "-m", "three")
	record(`0\.1\.0\+1\.[0-9a-f]{7}`)
	git("tag", "v0.2.0")
	record(`0\.2\.0`)
	for i, version := range versions[1:] {
		output(t, "dpkg", "--compare-versions", version, "gt", versions[i])
	}
}
