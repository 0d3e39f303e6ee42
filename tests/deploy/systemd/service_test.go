// Package systemd tests weightfs@.service and the line of fstab under systemd, the
// first process of a node of each test's own.
package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/deploy/node"
	"weightfs/tests/rig"
)

const content = "weights of a model"

// mostExposed bounds what systemd-analyze takes for exposed, of 100.
const mostExposed = 45

// machine is a node that systemd runs.
type machine struct{ *node.Node }

// boot starts a machine with our unit, and with these files.
func boot(t *testing.T, files map[string]string) machine {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		// No journal runs here.
		"etc/systemd/system/weightfs@.service.d/log.conf": "[Service]\nStandardError=append:/run/log.%i\n",
		"etc/systemd/system/node.target":                  "[Unit]\nDescription=a node of a test\n",
		"srv/models/f":                                    content,
		"etc/fstab":                                       "",
	}
	for _, name := range []string{"weightfs@.service", "weightfs-clean@.service"} {
		unit, err := os.ReadFile(filepath.Join(root, "deploy", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		all["etc/systemd/system/"+name] = string(unit)
	}
	for name, text := range files {
		all[name] = text
	}
	m := machine{node.Start(t, node.Options{Files: all, Init: []string{"/lib/systemd/systemd", "--system", "--unit=node.target", "--log-target=console", "--show-status=no"}})}
	rig.Await(t, "systemd runs", func() bool {
		return m.Run(t, "systemctl", "is-active", "node.target").Stdout == "active\n"
	})
	return m
}

// instance is the file of an instance of our unit that mounts source at dir.
func instance(source, dir string, more ...string) string {
	return fmt.Sprintf("SOURCE=%s\nMOUNTPOINT=%s\nWEIGHTFS_MEMORY_LIMIT=64Mi\n%s\n", source, dir, strings.Join(more, "\n"))
}

// property is a property of a unit.
func (m machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(m.Succeed(t, "systemctl", "show", "--value", "--property="+name, unit))
}

// log is what the mountd of an instance of our unit wrote.
func (m machine) log(t *testing.T, name string) string {
	t.Helper()
	return m.Run(t, "cat", "/run/log."+name).Stdout
}

// start starts a unit, which must be ready then.
func (m machine) start(t *testing.T, name string) {
	t.Helper()
	if r := m.Run(t, "systemctl", "start", "weightfs@"+name); r.Code != 0 {
		t.Fatalf("start: %s%s\n%s", r.Stderr, m.Run(t, "systemctl", "status", "weightfs@"+name).Stdout, m.log(t, name))
	}
}

// reads holds that the file f below dir has its content.
func (m machine) reads(t *testing.T, dir string) {
	t.Helper()
	if got := m.Succeed(t, "timeout", "120", "cat", dir+"/f"); got != content {
		t.Errorf("%s has %q", dir, got)
	}
}

func TestUnitIsSound(t *testing.T) {
	m := boot(t, nil)
	for _, args := range [][]string{
		{"verify", "--man=no", "/etc/systemd/system/weightfs@.service"},
		{"security", "--offline=yes", fmt.Sprintf("--threshold=%d", mostExposed), "--no-pager", "weightfs@.service"},
	} {
		r := m.Run(t, "systemd-analyze", args...)
		if r.Code != 0 || args[0] == "verify" && r.Stderr != "" {
			t.Errorf("systemd-analyze %s: exit %d\n%s%s", args[0], r.Code, r.Stdout, r.Stderr)
		}
		if lines := strings.Split(strings.TrimSpace(r.Stdout), "\n"); args[0] == "security" {
			t.Log(lines[len(lines)-1])
		}
	}
}

// A start returns when the mount answers; after a kill the mount goes on; a stop
// unmounts.
func TestService(t *testing.T) {
	server := rig.StartServer(t, rig.ServerOptions{})
	server.Fill(t, "models", map[string][]byte{"llama/f": []byte(content)})
	m := boot(t, map[string]string{"etc/weightfs/a": instance("s3://models/llama", "/mnt/new/models",
		"WEIGHTFS_ALLOW_OTHER=true", "WEIGHTFS_HTTP=127.0.0.1:0", "AWS_ACCESS_KEY_ID="+server.AccessKey,
		"AWS_SECRET_ACCESS_KEY="+server.SecretKey, "AWS_REGION="+server.Region, "AWS_ENDPOINT_URL="+server.Endpoint)})
	m.start(t, "a")
	m.reads(t, "/mnt/new/models")
	m.Succeed(t, "setpriv", "--reuid=4567", "--regid=4567", "--clear-groups", "cat", "/mnt/new/models/f")
	pid := m.property(t, "weightfs@a", "MainPID")
	status := m.Succeed(t, "cat", "/proc/"+pid+"/status")
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("%q is not in the status of mountd", want)
		}
	}
	readAhead := m.Succeed(t, "sh", "-c", `cat /sys/class/bdi/$(mountpoint -d /mnt/new/models)/read_ahead_kb`)
	if readAhead != "4096\n" {
		t.Errorf("the kernel reads ahead %s KiB", readAhead)
	}
	m.Succeed(t, "kill", "-KILL", pid)
	rig.Await(t, "mountd runs again", func() bool {
		return m.property(t, "weightfs@a", "NRestarts") == "1" && m.property(t, "weightfs@a", "ActiveState") == "active"
	})
	m.reads(t, "/mnt/new/models")
	if mounts := m.Mounts(t, "/mnt/new/models"); !slices.Equal(mounts, []string{"fuse.weightfs"}) {
		t.Errorf("mounted are %q", mounts)
	}
	m.Succeed(t, "systemctl", "stop", "weightfs@a")
	if state, mounts := m.property(t, "weightfs@a", "ActiveState"), m.Mounts(t, "/mnt/new/models"); state != "inactive" || len(mounts) != 0 {
		t.Errorf("stopped it is %s, and mounted are %q", state, mounts)
	}
	for line := range strings.Lines(m.log(t, "a")) {
		if regexp.MustCompile(`level=(WARN|ERROR)`).MatchString(line) && !strings.Contains(line, "took the mount over") {
			t.Errorf("mountd complains: %s", line)
		}
	}
}

// After a kill without a restart, no dead mount is left.
func TestKilledForGood(t *testing.T) {
	m := boot(t, map[string]string{
		"etc/weightfs/a": instance("/srv/models", "/mnt/models"),
		"etc/systemd/system/weightfs@.service.d/once.conf": "[Service]\nRestart=no\n",
	})
	m.start(t, "a")
	m.Succeed(t, "systemctl", "kill", "--signal=KILL", "weightfs@a")
	rig.Await(t, "the unit has failed", func() bool { return m.property(t, "weightfs@a", "ActiveState") == "failed" })
	rig.Await(t, "its mount is gone", func() bool { return len(m.Mounts(t, "/mnt/models")) == 0 })
}

// A wrong call is not made again; a failure is.
func TestWrongFlag(t *testing.T) {
	m := boot(t, map[string]string{
		"etc/weightfs/wrong":  instance("/srv/models", "/mnt/models", "FLAGS=--nonsense"),
		"etc/weightfs/failed": instance("/srv/nothing", "/mnt/models"),
	})
	if r := m.Run(t, "systemctl", "start", "weightfs@wrong"); r.Code == 0 {
		t.Error("a wrong flag was taken")
	}
	for name, want := range map[string]string{"ActiveState": "failed", "SubState": "failed", "NRestarts": "0", "ExecMainStatus": "2"} {
		if got := m.property(t, "weightfs@wrong", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if log := m.log(t, "wrong"); !strings.Contains(log, "unknown flag: --nonsense") {
		t.Errorf("the log says %q", log)
	}
	m.Run(t, "systemctl", "start", "weightfs@failed")
	rig.Await(t, "a failed start is tried again", func() bool { return m.property(t, "weightfs@failed", "NRestarts") >= "1" })
	m.Succeed(t, "systemctl", "stop", "weightfs@failed")
}

// A start that is refused touches nobody's mount: not the healthy one of another
// instance, and no other file system.
func TestRefusedStart(t *testing.T) {
	m := boot(t, map[string]string{
		"etc/weightfs/healthy": instance("/srv/models", "/mnt/models"),
		"etc/weightfs/second":  instance("/srv/models", "/mnt/models"),
		"etc/weightfs/disk":    instance("/srv/nothing", "/mnt/disk"),
	})
	m.start(t, "healthy")
	pid := m.property(t, "weightfs@healthy", "MainPID")
	m.Succeed(t, "mkdir", "/mnt/disk")
	m.Succeed(t, "mount", "-t", "tmpfs", "tmpfs", "/mnt/disk")
	for _, name := range []string{"second", "disk"} {
		if r := m.Run(t, "systemctl", "start", "weightfs@"+name); r.Code == 0 {
			t.Errorf("%s was started", name)
		}
		rig.Await(t, "it is tried again", func() bool { return m.property(t, "weightfs@"+name, "NRestarts") >= "1" })
		m.Succeed(t, "systemctl", "stop", "weightfs@"+name)
	}
	if log := m.log(t, "second"); !strings.Contains(log, "/srv/models is mounted there already") {
		t.Errorf("the log says %q", log)
	}
	m.reads(t, "/mnt/models")
	if now := m.property(t, "weightfs@healthy", "MainPID"); now != pid {
		t.Errorf("mountd was process %s, and is %s", pid, now)
	}
	for dir, want := range map[string]string{"/mnt/models": "fuse.weightfs", "/mnt/disk": "tmpfs"} {
		if mounts := m.Mounts(t, dir); !slices.Equal(mounts, []string{want}) {
			t.Errorf("at %s there is %q", dir, mounts)
		}
	}
}

// Without a limit of its own, mountd keeps to that of the unit.
func TestMemoryMax(t *testing.T) {
	m := boot(t, map[string]string{
		"etc/weightfs/a": "SOURCE=/srv/models\nMOUNTPOINT=/mnt/models\n",
		"etc/systemd/system/weightfs@.service.d/memory.conf": "[Service]\nMemoryMax=512M\n",
	})
	if !strings.Contains(m.Succeed(t, "sh", "-c", "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null; ls /sys/fs/cgroup"), "memory") {
		t.Fatal("this machine has no control group for memory to give")
	}
	m.start(t, "a")
	if status := m.Succeed(t, "mountd", "status", "--json", "/mnt/models"); !strings.Contains(status, `"memory_limit":268435456,`) {
		t.Errorf("the status is\n%s", status)
	}
}

// The line of fstab: an access mounts by mount.weightfs, an idle mount goes, and the
// next access mounts again.
func TestAutomount(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(filepath.Join(root, "deploy", "fstab"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^s3://\S+(.*),memory_limit=32Gi`).ReplaceAllString(string(shipped), "/srv/models$1,memory_limit=64Mi,x-systemd.idle-timeout=2s")
	m := boot(t, map[string]string{"etc/fstab": line})
	m.Succeed(t, "systemctl", "start", "mnt-models.automount")
	if mounts := m.Mounts(t, "/mnt/models"); !slices.Equal(mounts, []string{"autofs"}) {
		t.Fatalf("before the first access there is %q", mounts)
	}
	for range 2 {
		if got := m.Succeed(t, "timeout", "120", "ls", "/mnt/models"); got != "f\n" {
			t.Errorf("it lists %q", got)
		}
		m.reads(t, "/mnt/models")
		// Whose working directory is there keeps it.
		m.Succeed(t, "sh", "-c", "cd /mnt/models && grep ' /mnt/models fuse.weightfs ' /proc/mounts")
		rig.Await(t, "an idle mount goes", func() bool {
			return !slices.Contains(m.Mounts(t, "/mnt/models"), "fuse.weightfs") && len(m.Processes(t, "mountd")) == 0
		})
	}
	m.reads(t, "/mnt/models")
	m.Succeed(t, "systemctl", "stop", "mnt-models.automount", "mnt-models.mount")
	rig.Await(t, "all is gone", func() bool { return len(m.Mounts(t, "/mnt/models")) == 0 && len(m.Processes(t, "mountd")) == 0 })
}
