package faults

import (
	"context"
	"errors"
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

// peerLimit is how long a reader of a peer may take before it counts as hung:
// many times what the faults last.
func peerLimit() time.Duration { return 24 * theStage.outage }

// peer is a mount that users have, ours among them.
type peer struct {
	name    string
	command func(endpoint, bucket, dir, cache string) *exec.Cmd
}

// peers are ours and those whose programs are given.
func peers() []peer {
	all := []peer{{"weightfs", func(_, bucket, dir, _ string) *exec.Cmd {
		return exec.Command(theStage.Mountd, "--memory-limit", "128Mi", "s3://"+bucket, dir)
	}}}
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
	return peer{name, func(endpoint, bucket, dir, cache string) *exec.Cmd {
		remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='%s':%s", endpoint, bucket)
		args := []string{"mount", remote, dir, "--read-only", "--config", os.DevNull, "--cache-dir", cache}
		return exec.Command(theStage.rclone, append(args, flags...)...)
	}}
}

func s3fs() peer {
	return peer{"s3fs", func(endpoint, bucket, dir, cache string) *exec.Cmd {
		return exec.Command(theStage.s3fs, bucket, dir, "-f", "-o",
			"ro,use_path_request_style,parallel_count=16,tmpdir="+cache+",url="+endpoint)
	}}
}

// peerCase is a fault that peers meet too.
type peerCase struct {
	name    string
	inflict func(r *scene)
	// replaced has the object change when the reader has a half of it.
	replaced bool
}

func peerCases() []peerCase {
	return []peerCase{
		{"refused for a while", func(r *scene) { outageAfter(r, 1) }, false},
		{"stalled for ever", inflicting(proxy.Fault{End: proxy.Stall, After: 100_000}, proxy.Rule{Skip: 1, Count: 2}), false},
		{"truncated", inflicting(proxy.Fault{End: proxy.Truncate, After: 500_000}, proxy.Rule{Probability: 0.2}), false},
		{"half 503", func(r *scene) { storm(r, failing(503, "SlowDown")) }, false},
		{"replaced while read", nil, true},
	}
}

// TestPeers has mounts with their own settings meet five of the faults. What
// other ones do is shown and not judged.
func TestPeers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names, err := rig.WriteCheckpoint(dir, rig.Checkpoint{Size: 2 * theStage.size}) // for not all to be there at half
	noError(t, err)
	original := filepath.Join(dir, names[0])
	for _, c := range peerCases() {
		for _, p := range peers() {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				o, err := meet(t, p, c, original)
				t.Log(o, err)
				replaced := len(o.Failures) == 1 && o.errno() == "ESTALE" && c.replaced
				if p.name == "weightfs" && (err != nil || !o.intact() && !replaced) {
					t.Errorf("the reader got: %v, %v", o, err)
				}
			})
		}
	}
}

// meet mounts a peer, has the fault happen to it, and returns what a reader of the
// original got, as if that were the object.
func meet(t *testing.T, p peer, c peerCase, original string) (outcome, error) {
	t.Helper()
	bucket := strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-"))
	noError(t, theStage.Server.CreateBucket(t.Context(), bucket))
	noError(t, theStage.Server.PutFile(t.Context(), bucket, object, original))
	r := &scene{t: t, proxy: proxy.Start(t, theStage.Server.Endpoint)}
	r.proxy.SetShape(proxy.Shape{PerConnection: 20e6, Total: 40e6})
	mount, dir := mountPeer(t, p, r.proxy.Endpoint, bucket, object, nil)
	reader := hold(t, filepath.Join(dir, object), false)
	if c.replaced {
		reader.askHalf()
		reader.awaitHalf()
		theStage.Server.MustPut(t, bucket, object, make([]byte, 2*theStage.size+4096))
	} else {
		c.inflict(r)
	}
	// One that hangs cannot be killed before its mount was.
	hung := time.AfterFunc(peerLimit(), func() { _ = mount.Kill() })
	o, err := reader.try(order{Op: "next", Size: reader.left})
	if !hung.Stop() {
		return o, fmt.Errorf("HUNG, killed after %v", peerLimit())
	}
	content, readErr := os.ReadFile(original)
	if o.SHA256 == readOf(content).SHA256 {
		o.SHA256 = theStage.digest
	}
	return o, errors.Join(err, readErr)
}

// mountPeer mounts a peer for the length of the test, in a group if there is one.
// The bucket has an object of that name.
func mountPeer(t *testing.T, p peer, endpoint, bucket, name string, group *rig.Cgroup) (mount *rig.Process, dir string) {
	t.Helper()
	dir = t.TempDir()
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
		_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
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
	return mount, dir
}
