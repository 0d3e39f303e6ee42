package faults

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// peerLimit is how long readers of a peer may take before they count as hung: many
// times what the faults last, and less than childLimit.
const peerLimit = 150 * time.Second

// peer is a mount that users have, ours among them.
type peer struct {
	name    string
	command func(endpoint, bucket, dir, cache string) *exec.Cmd
	// upgrade is a command that has the program serve the mount at dir in place of the
	// one that runs, nil if there is none.
	upgrade func(dir string) []string
}

// peers are ours and those whose programs are given.
func peers() []peer {
	all := []peer{{"weightfs", func(_, bucket, dir, _ string) *exec.Cmd {
		return exec.Command(theStage.Mountd, "--memory-limit", "128Mi", "s3://"+bucket, dir)
	}, func(dir string) []string { return []string{theStage.Mountd, "upgrade", dir} }}}
	if theStage.rclone != "" {
		all = append(all, rclone("rclone", "--vfs-cache-mode", "full", "--vfs-read-chunk-streams", "16", "--vfs-read-chunk-size", "4Mi"))
	}
	if theStage.s3fs != "" {
		all = append(all, s3fs())
	}
	return all
}

// rclone is a peer by that name, with flags in addition.
func rclone(name string, flags ...string) peer {
	return peer{name: name, command: func(endpoint, bucket, dir, cache string) *exec.Cmd {
		remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='%s':%s", endpoint, bucket)
		args := []string{"mount", remote, dir, "--read-only", "--config", os.DevNull, "--cache-dir", cache}
		return exec.Command(theStage.rclone, append(args, flags...)...)
	}}
}

func s3fs() peer {
	return peer{name: "s3fs", command: func(endpoint, bucket, dir, cache string) *exec.Cmd {
		return exec.Command(theStage.s3fs, bucket, dir, "-f", "-o",
			"ro,use_path_request_style,parallel_count=16,tmpdir="+cache+",url="+endpoint)
	}}
}

// peerCase is a fault that peers meet too.
type peerCase struct {
	name string
	// inflict makes the store sick before the object is read.
	inflict func(*scene)
	// change happens to the object when the reader has a half of it, in place of inflict.
	change func(*meeting)
	// daemon happens to the mount's daemon in the midst of a read, in place of inflict.
	// The object is read once more afterwards.
	daemon func(*meeting)
}

func peerCases() []peerCase {
	return []peerCase{
		{name: "refused for a while", inflict: func(r *scene) { outageAfter(r, 1) }},
		{name: "stalled for ever", inflict: inflicting(proxy.Fault{End: proxy.Stall, After: 100_000}, proxy.Rule{Skip: 1, Count: 2})},
		{name: "truncated", inflict: inflicting(proxy.Fault{End: proxy.Truncate, After: 500_000}, proxy.Rule{Probability: 0.2})},
		{name: "half 503", inflict: func(r *scene) { storm(r, failing(503, "SlowDown")) }},
		{name: "replaced while read", change: (*meeting).replaceObject},
		{name: "daemon killed", daemon: (*meeting).killDaemon},
		{name: "daemon replaced", daemon: (*meeting).replaceDaemon},
		{name: "detached and mounted again", daemon: (*meeting).detach},
	}
}

// TestPeers has mounts with their own settings meet some of the faults. What other
// ones do is shown and not judged.
func TestPeers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 2 * theStage.size}) // for not all to be there at half
	noError(t, err)
	original := filepath.Join(dir, names[0])
	seen := newPeerTable(t)
	for _, c := range peerCases() {
		for _, p := range peers() {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				m := meet(t, p, c, original)
				t.Log(m)
				seen.note(c, p, m)
				replaced := len(m.got.Failures) == 1 && m.got.errno() == "ESTALE" && c.change != nil
				if p.name == "weightfs" && (m.err != nil || !m.got.intact() && !replaced || c.daemon != nil && !m.then.intact()) {
					t.Errorf("the reader got: %v", m)
				}
			})
		}
	}
}

// meeting is a peer that a fault happens to.
type meeting struct {
	*scene
	peer
	bucket, dir string
	mounts      []*rig.Process // the last one is at dir
	got, then   outcome        // of the reader, and of who reads the object by its path afterwards
	again       bool           // then was asked for
	release     func()         // see underReader
	err         error          // of a reader that hangs
}

func (m *meeting) String() string {
	switch {
	case m.err != nil:
		return m.err.Error()
	case m.again:
		return shortly(m.got) + ", then " + shortly(m.then)
	}
	return shortly(m.got)
}

// shortly is the outcome of one reader.
func shortly(o outcome) string { return strings.TrimSuffix(o.String(), " x1") }

// meet mounts a peer, has the fault happen to it, and returns what readers of the
// original got, as if that were the object.
func meet(t *testing.T, p peer, c peerCase, original string) *meeting {
	t.Helper()
	m := &meeting{scene: &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint)}, peer: p, dir: t.TempDir(), again: c.daemon != nil}
	m.bucket = strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-"))
	noError(t, theStage.Server.CreateBucket(t.Context(), m.bucket))
	noError(t, theStage.Server.PutFile(t.Context(), m.bucket, object, original))
	m.proxy.SetShape(proxy.Shape{PerConnection: 20e6, Total: 40e6})
	m.mountAgain()
	reader := hold(t, filepath.Join(m.dir, object), false)
	ask := func() { noError(t, reader.ask(order{Op: "next", Size: reader.left})) }
	switch {
	case c.daemon != nil:
		m.underReader(ask, c.daemon)
	case c.change != nil:
		reader.askHalf()
		reader.awaitHalf()
		c.change(m)
		ask()
	default:
		c.inflict(m.scene)
		ask()
	}
	// One that hangs cannot be killed before its mount was.
	hung := time.AfterFunc(peerLimit, func() {
		for _, mount := range m.mounts {
			_ = rig.KillMountd(mount.PID())
		}
	})
	m.got, m.err = reader.answer()
	if m.again && m.err == nil {
		m.then, m.err = startReader(t).try(order{Op: "sequential", Path: filepath.Join(m.dir, object)})
	}
	if !hung.Stop() {
		m.err = fmt.Errorf("nothing within %v", peerLimit)
	}
	content, err := os.ReadFile(original)
	noError(t, err)
	for _, o := range []*outcome{&m.got, &m.then} {
		if o.SHA256 == readOf(content).SHA256 {
			o.SHA256 = theStage.digest
		}
	}
	return m
}

// mountPeer mounts a peer for the length of the test, in a group if there is one.
// The bucket has an object of that name.
func mountPeer(t *testing.T, p peer, endpoint, bucket, name, dir string, group *rig.Cgroup) *rig.Process {
	t.Helper()
	cmd := p.command(endpoint, bucket, dir, t.TempDir())
	if group != nil {
		cmd = group.Command(cmd.Path, cmd.Args[1:]...)
	}
	cmd.Env = append(os.Environ(), slices.DeleteFunc(theStage.Server.Env(), func(v string) bool {
		return v == "AWS_SESSION_TOKEN=" // s3fs takes an empty one for a wrong one
	})...)
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+endpoint)
	mount, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() {
		// Peers that hang are none of our failures, but must not stay.
		_ = mount.Stop(30 * time.Second)
		_ = detachMount(dir)
	})
	path := filepath.Join(dir, name)
	if !rig.Eventually(func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), childLimit)
		defer cancel()
		result, err := rig.Run(ctx, nil, "stat", path)
		return err == nil && result.Code == 0
	}) {
		t.Fatalf("%s does not mount: %.200s", p.name, mount.Output())
	}
	return mount
}

// detachMount takes a mount away whose files may be open.
func detachMount(dir string) error { return exec.Command("fusermount3", "-u", "-z", dir).Run() }
