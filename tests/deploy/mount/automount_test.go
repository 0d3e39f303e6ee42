package mount

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weightfs/tests/rig"
)

// An access below a directory of autofs' mounts, from a folder and from a bucket;
// when nobody has used it for a while it is unmounted, and mountd ends. While mount(8)
// runs, autofs lets no process pass to the mountpoint but those of mount's group.
func TestAutofs(t *testing.T) {
	s := newStage(t, map[string]string{
		"etc/auto.master": "/auto /etc/auto.weightfs --timeout=2\n/- /etc/auto.direct --timeout=2\n",
		"etc/auto.weightfs": "bucket -fstype=weightfs,allow_other,memory_limit=64Mi,env_file=/etc/weightfs/env,endpoint_url=ESCAPED :s3\\://models/llama\n" +
			"folder -fstype=weightfs,memory_limit=64Mi :/srv/folder\n" +
			"nothing -fstype=weightfs,memory_limit=64Mi :/srv/nothing\n",
		"etc/auto.direct": "/srv/direct -fstype=weightfs,memory_limit=64Mi :/srv/folder\n",
		"srv/folder/f":    content,
	})
	// autofs knows its own by their process group, which must be one of the node.
	automount := s.Start(t, "setsid", "automount", "--foreground", "--dont-check-daemon", "--verbose")
	rig.Await(t, "autofs is mounted", func() bool {
		select {
		case <-automount.Done():
			t.Fatalf("automount ended: %s", automount.Output())
		default:
		}
		return slices.Contains(s.Mounts(t, "/auto"), "autofs") && slices.Contains(s.Mounts(t, "/srv/direct"), "autofs")
	})
	for _, dir := range []string{"/auto/bucket", "/auto/folder", "/srv/direct"} {
		if got := s.Succeed(t, "timeout", "120", "ls", dir); got != "f\n" {
			t.Errorf("%s lists %q", dir, got)
		}
		s.reads(t, dir)
		// Whose working directory is there keeps it.
		s.Succeed(t, "sh", "-c", `cd "$0" && grep " $0 fuse.weightfs " /proc/mounts`, dir)
		s.ends(t, dir)
		s.reads(t, dir) // mounted again
	}
	refused := s.Run(t, "timeout", "120", "ls", "/auto/nothing")
	if refused.Code != 2 || !strings.Contains(refused.Stderr, "No such file or directory") {
		t.Errorf("a source that is not there: %+v", refused)
	}
	if !strings.Contains(automount.Output(), "source /srv/nothing: no such folder") {
		t.Errorf("automount was not told the cause:\n%s", automount.Output())
	}
	for _, dir := range []string{"/auto/bucket", "/auto/folder", "/auto/nothing", "/srv/direct"} {
		s.ends(t, dir)
	}
}

// The start of a daemon that is ended, or fails late, leaves nothing: a signal while
// the store does not answer, and an address that is taken when it is mounted already.
func TestEndedStart(t *testing.T) {
	s := newStage(t, nil)
	silent := s.Start(t, "python3", "-c", `import socket, time
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
held = []
while True: held.append(s.accept()[0]); print("asked", flush=True)`)
	rig.Await(t, "the store listens", func() bool { return strings.HasSuffix(silent.Output(), "\n") })
	address := "127.0.0.1:" + strings.TrimSpace(silent.Output())
	for _, signal := range []string{"INT", "TERM", "KILL", "HUP"} {
		asked := strings.Count(silent.Output(), "asked")
		start := s.Start(t, "mount.weightfs", "s3://models", "/mnt/models", "-o", "env_file=/etc/weightfs/env,endpoint_url=http://"+address)
		rig.Await(t, "the store is asked", func() bool { return strings.Count(silent.Output(), "asked") > asked })
		helpers := s.Processes(t, "mount.weightfs")
		if len(helpers) != 1 {
			t.Fatalf("processes %q", helpers)
		}
		s.Succeed(t, "kill", "-"+signal, helpers[0])
		if code := start.Wait(); code == 0 {
			t.Errorf("SIG%s: exit %d: %s", signal, code, start.Output())
		}
		s.ends(t, "/mnt/models")
	}
	taken := s.Run(t, "mount", "-t", "weightfs", s.folder(), "/mnt/models", "-o", "http="+address)
	if taken.Code != 32 || !strings.Contains(taken.Stderr, "address already in use") {
		t.Errorf("an address that is taken: %+v", taken)
	}
	s.ends(t, "/mnt/models")
	// The next one mounts there.
	s.Succeed(t, "mount", "-t", "weightfs", s.folder(), "/mnt/models")
	s.reads(t, "/mnt/models")
	s.Succeed(t, "umount", "/mnt/models")
	s.ends(t, "/mnt/models")
}

// A dead mount is taken away by mountd clean and by the next start; what answers, and
// what is no mount of weightfs, stays.
func TestClean(t *testing.T) {
	s := newStage(t, nil)
	other := filepath.Join("/mnt", "tmpfs")
	s.Succeed(t, "mkdir", other)
	s.Succeed(t, "mount", "-t", "tmpfs", "tmpfs", other)
	mount := func() { s.Succeed(t, "mount", "-t", "weightfs", s.folder(), "/mnt/models") }
	kill := func() {
		// Who serves, then his keeper, which is stopped and starts nobody else.
		daemons := s.daemons(t)
		s.Succeed(t, "kill", append([]string{"-STOP"}, daemons...)...)
		slices.Reverse(daemons)
		s.Succeed(t, "kill", append([]string{"-KILL"}, daemons...)...)
		rig.Await(t, "mountd is gone", func() bool { return len(s.daemons(t)) == 0 })
		if dead := s.Run(t, "ls", "/mnt/models"); !strings.Contains(dead.Stderr, "not connected") {
			t.Errorf("a dead mount: %+v", dead)
		}
	}
	mount()
	for _, dir := range []string{"/mnt/models", other, "/mnt", "/nowhere"} {
		s.Succeed(t, "mountd", "clean", dir)
	}
	s.reads(t, "/mnt/models")
	kill()
	s.Succeed(t, "mountd", "clean", "/mnt/models")
	if mounts := s.Mounts(t, "/mnt/models"); len(mounts) != 0 {
		t.Errorf("clean left %q", mounts)
	}
	if mounts := s.Mounts(t, other); !slices.Equal(mounts, []string{"tmpfs"}) {
		t.Errorf("of a tmpfs there is left %q", mounts)
	}
	mount()
	kill()
	mount()
	s.reads(t, "/mnt/models")
	s.Succeed(t, "umount", "/mnt/models")
	s.ends(t, "/mnt/models")
}
