package kubernetes

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// next starts the driver of the pod that follows this one's on the node, while this
// one lives. It answers when the returned driver's awaitAnswer returns.
func (d *driver) next(t *testing.T) *driver {
	t.Helper()
	n := &driver{dir: d.dir, socket: "next-" + d.socket, pod: true, env: d.env}
	t.Cleanup(func() { n.tearDown(t) })
	n.run(t)
	return n
}

// container is the mount namespace of a process, which is one of a pod's.
func container(pid string) string {
	name, _ := os.Readlink("/proc/" + pid + "/ns/mnt") // it may just have ended
	return name
}

// serves are those of the node's keepers that are of this driver's pod.
func (d *driver) serves(t *testing.T) []string {
	t.Helper()
	here := container(strconv.Itoa(d.PID()))
	return slices.DeleteFunc(d.keepers(t), func(pid string) bool { return container(pid) != here })
}

// endPod ends the driver, and then whatever else there is in its pod, as the end of its
// container does.
func (d *driver) endPod(t *testing.T) {
	t.Helper()
	here := container(strconv.Itoa(d.PID()))
	noError(t, d.Stop(limit))
	if code := d.Wait(); code != 0 {
		t.Errorf("the driver ended with %d", code)
	}
	d.endMountds(t, here)
	if t.Failed() {
		t.Logf("the driver before wrote:\n%s", d.Output())
	}
}

// endMountds ends the node's mountds that are of a container.
func (d *driver) endMountds(t *testing.T, name string) {
	t.Helper()
	for _, pid := range d.mountds(t) {
		if n, err := strconv.Atoi(pid); err == nil && container(pid) == name {
			noError(t, rig.KillMountd(n))
		}
	}
}

// reader reads a file on and on in a pod that was there before, by opening it again and
// by a descriptor that stays open.
type reader struct {
	*rig.Process
	stop string // the file that ends it
}

func startReader(t *testing.T, p pod, file string) reader {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(p.PID()), "--mount", "--", "sh", "-c", readOn, file, dir)
	process, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() { noError(t, process.Kill()) })
	r := reader{process, filepath.Join(dir, "stop")}
	r.awaitRounds(t, 1)
	return r
}

// awaitRounds waits until it has read the file so often.
func (r reader) awaitRounds(t *testing.T, n int) {
	t.Helper()
	rig.Await(t, "a reader goes on", func() bool { return r.rounds() >= n || ended(r.Process) })
	if ended(r.Process) {
		t.Fatalf("a reader ended with %d: %s", r.Wait(), r.Output())
	}
}

func ended(p *rig.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// rounds is how often it has read the file.
func (r reader) rounds() int { return strings.Count(r.Output(), "\n") - 1 }

// end ends it, and holds that all it has read was right.
func (r reader) end(t *testing.T) {
	t.Helper()
	noError(t, os.WriteFile(r.stop, nil, 0o644))
	if code := exitCode(t, r.Process); code != 0 {
		t.Errorf("a reader ends with %d", code)
	}
	for line := range strings.Lines(r.Output()) {
		if line != "open\n" && strings.TrimSpace(line) != strings.TrimSpace(theStage.digest) {
			t.Errorf("it has read %q", line)
		}
	}
}

// TestReadersOutliveDriver holds that who reads a volume notices nothing when the driver
// dies. Another one follows in its container, which goes on with the same mountd.
func TestReadersOutliveDriver(t *testing.T) {
	d := startDriver(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	file := d.publish(t, "volume", "a", volume, keys())
	mountd := d.mountd(t)
	r := startReader(t, startPod(t), file)
	for range 3 {
		died := d.serving(t)
		noError(t, unix.Kill(died, unix.SIGKILL))
		rig.Await(t, "another driver", func() bool { return ended(d.Process) || d.serving(t) != died })
		r.awaitRounds(t, r.rounds()+3)
		rig.Await(t, "its answer", func() bool { return ended(d.Process) || d.probe(t.Context()) == nil })
		d.publish(t, "volume", "a", volume, keys()) // kubelet asks again
		if d.mountd(t) != mountd {
			t.Error("the new driver has another mountd")
		}
	}
	r.end(t)
	d.unpublish(t, "volume", "a")
	d.awaitMountds(t, 0)
}

// serving is the process that answers for the driver, 0 where there is none.
func (d *driver) serving(t *testing.T) int {
	t.Helper()
	pids := slices.DeleteFunc(running(t, filepath.Base(theStage.csi), d.endpoint()), func(pid string) bool { return pid == strconv.Itoa(d.PID()) })
	if len(pids) == 0 {
		return 0
	}
	pid, err := strconv.Atoi(pids[0])
	noError(t, err)
	return pid
}

// stageRequest is the call by which kubelet stages a volume, whose folder it has made.
func (d *driver) stageRequest(t *testing.T, id string, attributes, secrets map[string]string) *csi.NodeStageVolumeRequest {
	t.Helper()
	staging := filepath.Join(d.dir, "staging")
	noError(t, os.MkdirAll(staging, 0o755))
	return &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: staging, VolumeCapability: readerCapability(), VolumeContext: attributes, Secrets: secrets}
}

// TestReadersOutliveDriverPod is an update of the driver's DaemonSet with maxSurge: the
// driver of the pod that comes has every mount served from there, with the credentials
// that each was started with, and the pod before ends. Who reads notices nothing.
func TestReadersOutliveDriverPod(t *testing.T) {
	sts := httptest.NewServer(&tokenService{})
	defer sts.Close()
	first := startDriver(t, append(theStage.Server.Env(), "AWS_ENDPOINT_URL_STS="+sts.URL)...)
	account := "of-" + filepath.Base(first.dir)
	noError(t, theStage.Server.AddAccount(t.Context(), account, "the-secret-of-it"))
	secret := map[string]string{"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "the-secret-of-it"}
	volume := attributes(theStage.Server.Endpoint, nil)
	early := startPod(t)
	staged := first.stageRequest(t, "staged", volume, keys())
	_, err := first.node.NodeStageVolume(t.Context(), staged)
	noError(t, err)
	request := first.request(t, "staged", "d", volume, nil)
	request.StagingTargetPath = staged.GetStagingTargetPath()
	_, err = first.node.NodePublishVolume(t.Context(), request)
	noError(t, err)
	readers := []reader{
		startReader(t, early, first.publish(t, "node", "a", volume, nil)),
		startReader(t, early, first.publish(t, "secret", "b", volume, secret)),
		startReader(t, early, first.publish(t, "token", "c", attributes(theStage.Server.Endpoint, podContext("account", "token-1")), nil)),
		startReader(t, early, filepath.Join(first.target("d"), object)),
	}
	last := first
	for range 2 {
		next := last.next(t)
		next.awaitAnswer(t)
		if got := next.serves(t); len(got) != len(readers) {
			t.Errorf("the next pod serves %v of %d mounts: %s", got, len(readers), next.Output())
		}
		_, err := last.node.NodePublishVolume(t.Context(), last.request(t, "late", "e", volume, nil))
		checkRefused(t, err, codes.Unavailable, "another driver")
		if err := last.probe(t.Context()); err == nil {
			t.Error("the driver before says that it is ready")
		}
		last.endPod(t)
		for _, r := range readers {
			r.awaitRounds(t, r.rounds()+3)
		}
		early.checkReads(t, next.publish(t, "shared", "f", volume, secret))
		next.publish(t, "token", "c", attributes(theStage.Server.Endpoint, podContext("account", "token-2")), nil)
		if got := next.tokens(t); len(got) != 1 || got[0] != "token-2" {
			t.Errorf("the tokens in the files are %q", got)
		}
		next.awaitMountds(t, len(readers))
		next.unpublish(t, "shared", "f")
		last = next
	}
	for _, r := range readers {
		r.end(t)
	}
	for pod, id := range map[string]string{"a": "node", "b": "secret", "c": "token", "d": "staged"} {
		last.unpublish(t, id, pod)
	}
	_, err = last.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: "staged", StagingTargetPath: staged.GetStagingTargetPath()})
	noError(t, err)
	last.awaitMountds(t, 0)
}

// TestRollback holds that the driver of the pod before, started again in a new container,
// takes the mounts back from the next pod.
func TestRollback(t *testing.T) {
	first := startDriver(t)
	r := startReader(t, startPod(t), first.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys()))
	next := first.next(t)
	next.awaitAnswer(t)
	here := container(strconv.Itoa(first.PID()))
	noError(t, first.Kill())
	first.endMountds(t, here)
	r.awaitRounds(t, r.rounds()+3)
	first.restart(t)
	if got := first.serves(t); len(got) != 1 {
		t.Errorf("it serves %v: %s", got, first.Output())
	}
	if err := next.probe(t.Context()); err == nil {
		t.Error("the other driver says that it is ready")
	}
	next.endPod(t)
	r.awaitRounds(t, r.rounds()+3)
	r.end(t)
	first.unpublish(t, "volume", "a")
	first.awaitMountds(t, 0)
}

// TestNotTakenOver holds what becomes of a mount that cannot be taken over, here since
// its store does not let the next mountd in: the pod before serves on until it ends, and
// the next driver says why, takes over the others, and mounts anew when it is asked to.
func TestNotTakenOver(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	first := startDriver(t)
	refused, taken := attributes(p.Endpoint, nil), attributes(theStage.Server.Endpoint, nil)
	early := startPod(t)
	file := first.publish(t, "refused", "a", refused, keys())
	early.checkReads(t, file)
	r := startReader(t, early, first.publish(t, "taken", "b", taken, keys()))
	p.SetRules(1, proxy.Rule{Fault: proxy.Fault{Status: 403, Code: "AccessDenied"}})
	next := first.next(t)
	next.awaitAnswer(t)
	if got := next.serves(t); len(got) != 1 {
		t.Errorf("the next pod serves %v", got)
	}
	if !regexp.MustCompile(`level=ERROR msg="a mount is not taken over.*AccessDenied`).MatchString(next.Output()) {
		t.Errorf("the next driver says: %s", next.Output())
	}
	p.SetRules(1)
	early.checkReads(t, file)
	first.endPod(t)
	if result := early.run(t, "ls", next.target("a")); result.Code == 0 {
		t.Error("a dead mount can be listed")
	}
	early.checkReads(t, next.publish(t, "refused", "a", refused, keys()))
	r.awaitRounds(t, r.rounds()+3)
	r.end(t)
	next.unpublish(t, "refused", "a")
	next.unpublish(t, "taken", "b")
	next.awaitMountds(t, 0)
}

// TestCallDuringTakeOver holds that the next driver waits for the calls under way, and
// takes over what they have mounted.
func TestCallDuringTakeOver(t *testing.T) {
	p, release := heldStore(t)
	first := startDriver(t)
	request := first.request(t, "volume", "a", attributes(p.Endpoint, nil), keys())
	answer := make(chan error)
	go func() {
		_, err := first.node.NodePublishVolume(t.Context(), request)
		answer <- err
	}()
	rig.Await(t, "a request to the server", func() bool { return p.Stats().Faults > 0 })
	next := first.next(t)
	rig.Await(t, "the next driver", func() bool { return first.probe(t.Context()) != nil })
	close(release)
	noError(t, <-answer)
	next.awaitAnswer(t)
	if got := next.serves(t); len(got) != 1 {
		t.Errorf("the next pod serves %v: %s", got, next.Output())
	}
	first.endPod(t)
	startPod(t).checkReads(t, filepath.Join(next.target("a"), object))
	next.unpublish(t, "volume", "a")
	next.awaitMountds(t, 0)
}

// TestDriverDiesDuringTakeOver holds that a mount is taken over when nobody hears of it:
// the driver that has started the take-over dies before, and the next one follows.
func TestDriverDiesDuringTakeOver(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	first := startDriver(t)
	r := startReader(t, startPod(t), first.publish(t, "volume", "a", attributes(p.Endpoint, nil), keys()))
	release := make(chan struct{})
	p.SetRules(1, proxy.Rule{Fault: proxy.Fault{Hold: release}})
	dies := first.next(t)
	rig.Await(t, "a request to the server", func() bool { return p.Stats().Faults > 0 })
	here := container(strconv.Itoa(dies.PID()))
	noError(t, dies.Kill())
	close(release)
	rig.Await(t, "the mount is taken over", func() bool {
		status, err := rig.Run(t.Context(), nil, theStage.Mountd, "status", "--json", filepath.Join(theOnly(t, first.state()), "mnt"))
		pid := regexp.MustCompile(`"pid":(\d+),`).FindStringSubmatch(status.Stdout)
		return err == nil && pid != nil && container(pid[1]) == here
	})
	r.awaitRounds(t, r.rounds()+3)
	next := first.next(t)
	next.awaitAnswer(t)
	first.endPod(t)
	next.endMountds(t, here)
	r.awaitRounds(t, r.rounds()+3)
	r.end(t)
	next.unpublish(t, "volume", "a")
	next.awaitMountds(t, 0)
}

// theOnly is the only folder in dir.
func theOnly(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	noError(t, err)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	if len(entries) != 1 {
		t.Fatalf("%s has %v", dir, entries)
	}
	return filepath.Join(dir, entries[0].Name())
}
