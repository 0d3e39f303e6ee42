// Package mount tests weightfs as mount(8), fstab and automounters use it: by real
// ones, in a node of each test's own, from a folder and from a bucket.
package mount

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

// stage is a node, and a server with a bucket "models" with an object "llama/f".
type stage struct {
	*node.Node
	server *rig.Server
}

func newStage(t *testing.T, files map[string]string) stage {
	t.Helper()
	server := rig.StartServer(t, rig.ServerOptions{})
	server.Fill(t, "models", map[string][]byte{"llama/f": []byte(content)})
	all := map[string]string{"etc/weightfs/env": environment(server)}
	for name, text := range files {
		// In a map of autofs a colon stands for more than itself.
		escaped := strings.ReplaceAll(server.Endpoint, ":", `\:`)
		all[name] = strings.NewReplacer("ENDPOINT", server.Endpoint, "ESCAPED", escaped).Replace(text)
	}
	s := stage{node.Start(t, node.Options{Files: all}), server}
	s.Succeed(t, "chmod", "600", "/etc/weightfs/env")
	s.Succeed(t, "mkdir", "-p", "/mnt/models", filepath.Join(s.Shared, "folder"))
	s.Succeed(t, "sh", "-c", `printf %s "$0" >"$1"`, content, filepath.Join(s.Shared, "folder", "f"))
	return s
}

// environment are the server's credentials as a file of variables.
func environment(server *rig.Server) string {
	return fmt.Sprintf("# read by mountd alone\nAWS_ACCESS_KEY_ID='%s'\nAWS_SECRET_ACCESS_KEY=\"%s\"\nAWS_REGION=%s\nAWS_EC2_METADATA_DISABLED=true\n",
		server.AccessKey, server.SecretKey, server.Region)
}

// reads holds that the file f below dir has its content.
func (s stage) reads(t *testing.T, dir string) {
	t.Helper()
	if got := s.Succeed(t, "timeout", "120", "cat", filepath.Join(dir, "f")); got != content {
		t.Errorf("%s has %q", dir, got)
	}
}

// ends waits until nothing is mounted at dir, and no mountd is left.
func (s stage) ends(t *testing.T, dir string) {
	t.Helper()
	rig.Await(t, "no weightfs at "+dir, func() bool { return !slices.Contains(s.Mounts(t, dir), "fuse.weightfs") })
	rig.Await(t, "mountd ends", func() bool { return len(s.daemons(t)) == 0 })
}

// daemons are the processes of mountd, whatever it is called.
func (s stage) daemons(t *testing.T) []string {
	return append(s.Processes(t, "mountd"), s.Processes(t, "mount.weightfs")...)
}

// As an operator mounts by hand, from a bucket.
func TestMount(t *testing.T) {
	s := newStage(t, nil)
	s.Succeed(t, "env", "-i", "PATH=/usr/bin:/bin", "mount", "-t", "weightfs", "s3://models/llama", "/mnt/models",
		"-o", "ro,allow_other,endpoint_url="+s.server.Endpoint+",memory-limit=64Mi,env_file=/etc/weightfs/env,_netdev,noexec,context=system_u:object_r:container_file_t:s0")
	s.reads(t, "/mnt/models")
	s.Succeed(t, "setpriv", "--reuid=4567", "--regid=4567", "--clear-groups", "cat", "/mnt/models/f")
	line := regexp.MustCompile(`(?m)^s3://models/llama /mnt/models fuse\.weightfs (\S+)`).FindStringSubmatch(s.Succeed(t, "cat", "/proc/mounts"))
	if line == nil {
		t.Fatal("/proc/mounts does not have it")
	}
	for _, option := range []string{"ro", "nosuid", "nodev", "noexec", "allow_other"} {
		if !slices.Contains(strings.Split(line[1], ","), option) {
			t.Errorf("%s is not among the options %s", option, line[1])
		}
	}
	if status := s.Succeed(t, "mountd", "status", "--json", "/mnt/models"); !strings.Contains(status, `"memory_limit":67108864,`) {
		t.Errorf("the status is\n%s", status)
	}
	refusal := s.Run(t, "mount", "-o", "remount,memory_limit=1Gi", "/mnt/models")
	if refusal.Code != 1 || !strings.Contains(refusal.Stderr, "a mount cannot be changed: unmount it") {
		t.Errorf("remount: %+v", refusal)
	}
	s.reads(t, "/mnt/models")
	again := s.Run(t, "mount", "-t", "weightfs", s.folder(), "/mnt/models")
	if again.Code != 32 || !strings.Contains(again.Stderr, "s3://models/llama is mounted there already") {
		t.Errorf("mounted twice: %+v", again)
	}
	s.reads(t, "/mnt/models")
	s.Succeed(t, "umount", "/mnt/models")
	s.ends(t, "/mnt/models")
}

func (s stage) folder() string { return filepath.Join(s.Shared, "folder") }

// The exit codes are those of mount(8), the cause is one line, and nothing is left.
func TestMountRefuses(t *testing.T) {
	s := newStage(t, map[string]string{"etc/weightfs/open": "AWS_SECRET_ACCESS_KEY=hidden\n"})
	for _, c := range []struct {
		code                 int
		source, dir, options string
		want                 string
	}{
		{1, s.folder(), "/mnt/models", "nonsense", `unknown option "nonsense"`},
		{1, s.folder(), "/mnt/models", "memory_limit=lots", "lots"},
		{1, "gs://bucket", "/mnt/models", "ro", "gs://bucket"},
		{32, "/nowhere", "/mnt/models", "ro", "no such folder"},
		{32, s.folder(), "/etc/fstab", "ro", "/etc/fstab is not a directory"},
		{32, s.folder(), "/mnt/models", "env_file=/etc/weightfs/open", "holds AWS_SECRET_ACCESS_KEY and can be read by others"},
		{32, "s3://nothing", "/mnt/models", "env_file=/etc/weightfs/env,endpoint_url=" + s.server.Endpoint, "the bucket does not exist"},
	} {
		result := s.Run(t, "mount", "-t", "weightfs", "-o", c.options, c.source, c.dir)
		causes := regexp.MustCompile(`(?m)^mount\.weightfs: .*`).FindAllString(result.Stderr, -1)
		if result.Code != c.code || len(causes) != 1 || !strings.Contains(causes[0], c.want) || strings.Contains(result.Stderr, "hidden") {
			t.Errorf("%+v: exit %d: %s", c, result.Code, result.Stderr)
		}
		if mounts := s.Mounts(t, c.dir); len(mounts) != 0 {
			t.Errorf("%+v: left %q", c, mounts)
		}
	}
	if left := s.daemons(t); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	// mount -f does all but to mount.
	s.Succeed(t, "mount", "-f", "-t", "weightfs", s.folder(), "/mnt/models")
	if mounts := s.Mounts(t, "/mnt/models"); len(mounts) != 0 {
		t.Errorf("mount -f mounted %q", mounts)
	}
}

// As the boot mounts: by a line of fstab, with next to nothing in the environment,
// and credentials in the home of root.
func TestFstab(t *testing.T) {
	s := newStage(t, map[string]string{"etc/fstab": "s3://models/llama /mnt/models weightfs " +
		"_netdev,nofail,x-systemd.automount,x-systemd.mount-timeout=5min,allow_other,memory_limit=64Mi,endpoint-url=ENDPOINT,region=us-east-1 0 0\n"})
	s.Succeed(t, "mkdir", "-p", "/root/.aws")
	s.Succeed(t, "sh", "-c", `printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$0" "$1" >/root/.aws/credentials`, s.server.AccessKey, s.server.SecretKey)
	s.Succeed(t, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "mount", "-a")
	s.reads(t, "/mnt/models")
	s.Succeed(t, "umount", "/mnt/models")
	s.ends(t, "/mnt/models")
}

// The line of deploy/fstab is one that mount(8) takes.
func TestShippedFstab(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(filepath.Join(root, "deploy", "fstab"))
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, map[string]string{"etc/fstab": string(line)})
	s.Succeed(t, "sed", "-i", "s|^s3://[^ ]*|"+s.folder()+"|; s|32Gi|64Mi|", "/etc/fstab")
	s.Succeed(t, "mount", "/mnt/models")
	s.reads(t, "/mnt/models")
	s.Succeed(t, "umount", "/mnt/models")
	s.ends(t, "/mnt/models")
}

// A user whom fstab lets mount does, by way of fusermount3, and unmounts.
func TestUserMounts(t *testing.T) {
	s := newStage(t, map[string]string{"etc/fstab": "SHARED/folder /mnt/user weightfs user,noauto,memory_limit=64Mi 0 0\n"})
	s.Succeed(t, "sed", "-i", "s|SHARED|"+s.Shared+"|", "/etc/fstab")
	// As udev has it, and in this node alone.
	s.Succeed(t, "sh", "-c", "mknod -m 666 /run/fuse c 10 229 && mount --bind /run/fuse /dev/fuse")
	s.Succeed(t, "sh", "-c", "mkdir /mnt/user; chown 65534 /mnt/user; chmod 755 "+filepath.Dir(s.Shared)+" "+s.Shared)
	as := func(uid string, command ...string) rig.Result {
		return s.Run(t, "setpriv", append([]string{"--reuid=" + uid, "--regid=65534", "--clear-groups"}, command...)...)
	}
	if r := as("65534", "mount", "/mnt/user"); r.Code != 0 {
		t.Fatalf("mount: %+v", r)
	}
	if r := as("65534", "cat", "/mnt/user/f"); r.Stdout != content {
		t.Errorf("cat: %+v", r)
	}
	if r := as("0", "cat", "/mnt/user/f"); !strings.Contains(r.Stderr, "Permission denied") {
		t.Errorf("cat by root: %+v", r)
	}
	if r := as("65534", "fusermount3", "-u", "/mnt/user"); r.Code != 0 {
		t.Errorf("fusermount3: %+v", r)
	}
	s.ends(t, "/mnt/user")
}
