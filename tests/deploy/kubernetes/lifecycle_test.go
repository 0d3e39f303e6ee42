package kubernetes

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestDriverRestart holds that volumes go on while the driver is gone, and that a
// new one knows them: another pod shares the mountd, and the last one ends it.
func TestDriverRestart(t *testing.T) {
	d := startDriver(t)
	reader := startPod(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	file := d.publish(t, "volume", "a", volume, keys())
	mountd := d.mountd(t)
	noError(t, d.Kill())
	reader.checkReads(t, file)
	d.restart(t)
	reader.checkReads(t, d.publish(t, "volume", "b", volume, keys()))
	d.publish(t, "volume", "a", volume, keys()) // kubelet asks again
	if d.mountd(t) != mountd {
		t.Error("the new driver started another mountd")
	}
	d.unpublish(t, "volume", "a")
	if d.mountd(t) != mountd {
		t.Error("the mountd of a pod ended")
	}
	d.unpublish(t, "volume", "b")
	d.awaitMountds(t, 0)
}

// TestDriverKilledHalfWay holds that a new driver ends what nobody uses: the old
// one may have been killed between starting a mountd and showing it, or between
// taking the last use away and ending it.
func TestDriverKilledHalfWay(t *testing.T) {
	d := startDriver(t)
	d.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	noError(t, d.Kill())
	noError(t, unix.Unmount(d.target("a"), 0))
	d.restart(t)
	d.awaitMountds(t, 0)
	d.unpublish(t, "volume", "a")
}

// TestMountdKilled holds what a pod sees that was there before: a mount that comes
// later, its death, and the mount that takes its place when kubelet publishes
// again.
func TestMountdKilled(t *testing.T) {
	d := startDriver(t)
	early := startPod(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	file := d.publish(t, "volume", "a", volume, keys())
	other := d.publish(t, "volume", "b", volume, keys())
	early.checkReads(t, file)
	if !d.healthy(t, "a") {
		t.Error("a mount that answers is not healthy")
	}
	killed := d.mountd(t)
	d.killMountd(t)
	d.awaitMountds(t, 0)
	if result := early.run(t, "ls", d.target("a")); result.Code == 0 {
		t.Error("a dead mount can be listed")
	}
	if d.healthy(t, "a") {
		t.Error("a dead mount is healthy")
	}
	for pod, file := range map[string]string{"a": file, "b": other} {
		d.publish(t, "volume", pod, volume, keys())
		early.checkReads(t, file)
	}
	if d.mountd(t) == killed {
		t.Error("the mountd was not killed")
	}
	d.unpublish(t, "volume", "a")
	d.unpublish(t, "volume", "b")
	d.awaitMountds(t, 0)
}

// TestDriverPodRestart holds what the end of the driver's container does, which
// ends the mountds too: when kubelet publishes again, every pod's volume is there
// again, from one new mountd.
func TestDriverPodRestart(t *testing.T) {
	d := startDriver(t)
	early := startPod(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	files := map[string]string{"a": "", "b": ""}
	for pod := range files {
		files[pod] = d.publish(t, "volume-"+pod, pod, volume, keys())
	}
	noError(t, d.Kill())
	d.killMountd(t)
	d.awaitMountds(t, 0)
	d.restart(t)
	if result := early.run(t, "ls", d.target("a")); result.Code == 0 {
		t.Error("a dead mount can be listed")
	}
	for pod, file := range files {
		d.publish(t, "volume-"+pod, pod, volume, keys())
		early.checkReads(t, file)
	}
	d.mountd(t)
	for pod := range files {
		d.unpublish(t, "volume-"+pod, pod)
	}
	d.awaitMountds(t, 0)
}

// TestUnpublishDead holds that a pod whose mountd is gone can end.
func TestUnpublishDead(t *testing.T) {
	d := startDriver(t)
	d.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	d.killMountd(t)
	d.unpublish(t, "volume", "a")
}

// TestUnpublishInUse holds that a file which is still open is served until it is
// closed, and that the mountd ends then.
func TestUnpublishInUse(t *testing.T) {
	d := startDriver(t)
	file := d.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	in, out, err := os.Pipe()
	noError(t, err)
	cmd := exec.Command("sh", "-c", `exec 4<"$0"; echo open; read line; sha256sum <&4`, file)
	cmd.Stdin = in
	reader, err := rig.StartProcess(cmd)
	noError(t, err)
	t.Cleanup(func() { noError(t, reader.Kill()) })
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err = reader.AwaitOutput(ctx, regexp.MustCompile("open\n"))
	noError(t, err)
	d.unpublish(t, "volume", "a")
	d.mountd(t)
	noError(t, out.Close())
	if code := reader.Wait(); code != 0 || !strings.HasSuffix(reader.Output(), theStage.digest) {
		t.Errorf("the reader ended with %d: %s", code, reader.Output())
	}
	d.awaitMountds(t, 0)
}

// healthy tells what the driver says of a pod's volume.
func (d *driver) healthy(t *testing.T, pod string) bool {
	t.Helper()
	health, err := d.node.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: "volume", VolumePublishPath: d.target(pod)})
	noError(t, err)
	_, err = d.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "volume", VolumePath: d.target(pod)})
	healthy := len(health.GetVolumeHealth().GetHealthStatuses()) == 0
	if healthy != (err == nil) {
		t.Errorf("health is %v, and statistics give %v", health, err)
	}
	return healthy
}

// TestStagedBySecret holds that a volume with a secret for staging is mounted
// then, that pods are shown that mount, and that it ends with the staging.
func TestStagedBySecret(t *testing.T) {
	d := startDriver(t)
	reader := startPod(t)
	staging := filepath.Join(d.dir, "staging")
	noError(t, os.Mkdir(staging, 0o755))
	stage := &csi.NodeStageVolumeRequest{VolumeId: "volume", StagingTargetPath: staging, VolumeCapability: readerCapability(),
		VolumeContext: attributes(theStage.Server.Endpoint, nil), Secrets: keys()}
	for range 2 {
		_, err := d.node.NodeStageVolume(t.Context(), stage)
		noError(t, err)
	}
	mountd := d.mountd(t)
	request := d.request(t, "volume", "a", stage.GetVolumeContext(), nil)
	request.StagingTargetPath = staging
	for range 2 {
		_, err := d.node.NodePublishVolume(t.Context(), request)
		noError(t, err)
	}
	reader.checkReads(t, filepath.Join(d.target("a"), object))
	d.unpublish(t, "volume", "a")
	if d.mountd(t) != mountd {
		t.Error("the staged mountd ended, or another came")
	}
	for range 2 {
		_, err := d.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: "volume", StagingTargetPath: staging})
		noError(t, err)
	}
	d.awaitMountds(t, 0)
}

// TestStagedDead holds that a volume whose staged mountd died is refused, and not
// read with the node's credentials, until it is staged again.
func TestStagedDead(t *testing.T) {
	d := startDriver(t, theStage.Server.Env()...)
	reader := startPod(t)
	staging := filepath.Join(d.dir, "staging")
	noError(t, os.Mkdir(staging, 0o755))
	stage := &csi.NodeStageVolumeRequest{VolumeId: "volume", StagingTargetPath: staging, VolumeCapability: readerCapability(),
		VolumeContext: attributes(theStage.Server.Endpoint, nil), Secrets: keys()}
	_, err := d.node.NodeStageVolume(t.Context(), stage)
	noError(t, err)
	d.killMountd(t)
	d.awaitMountds(t, 0)
	request := d.request(t, "volume", "a", stage.GetVolumeContext(), nil)
	request.StagingTargetPath = staging
	_, err = d.node.NodePublishVolume(t.Context(), request)
	checkRefused(t, err, codes.FailedPrecondition, "stage the volume again")
	d.publish(t, "other", "b", stage.GetVolumeContext(), keys()) // takes the place of the dead one
	_, err = d.node.NodePublishVolume(t.Context(), request)
	checkRefused(t, err, codes.FailedPrecondition, "stage the volume again")
	_, err = d.node.NodeStageVolume(t.Context(), stage)
	noError(t, err)
	_, err = d.node.NodePublishVolume(t.Context(), request)
	noError(t, err)
	reader.checkReads(t, filepath.Join(d.target("a"), object))
	d.mountd(t)
	d.unpublish(t, "volume", "a")
	d.unpublish(t, "other", "b")
	_, err = d.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: "volume", StagingTargetPath: staging})
	noError(t, err)
	d.awaitMountds(t, 0)
}

// heldStore is a proxy before the server that answers nothing until release is closed.
func heldStore(t *testing.T) (p *proxy.Proxy, release chan struct{}) {
	t.Helper()
	p, release = proxy.Start(t, theStage.Server.Endpoint), make(chan struct{})
	p.SetRules(1, proxy.Rule{Fault: proxy.Fault{Hold: release}})
	return p, release
}

// TestCallsAtOnce holds that a second call for a volume is sent away while the
// first is under way, that another volume of the same source waits for the mountd
// of the first, and that a call whose time is over leaves nothing.
func TestCallsAtOnce(t *testing.T) {
	p, release := heldStore(t)
	d := startDriver(t)
	volume := attributes(p.Endpoint, nil)
	answers := make(chan error)
	for id, pod := range map[string]string{"first": "a", "second": "b"} {
		request := d.request(t, id, pod, volume, keys())
		go func() {
			_, err := d.node.NodePublishVolume(t.Context(), request)
			answers <- err
		}()
	}
	rig.Await(t, "a request to the server", func() bool { return p.Stats().Faults > 0 })
	for _, id := range []string{"first", "second"} {
		_, err := d.node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: d.target("c")})
		for err == nil { // its publishing has not begun yet
			_, err = d.node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: d.target("c")})
		}
		checkRefused(t, err, codes.Aborted, id)
	}
	close(release)
	for range 2 {
		noError(t, <-answers)
	}
	d.mountd(t)
	d.unpublish(t, "first", "a")
	d.unpublish(t, "second", "b")
	d.awaitMountds(t, 0)
}

// TestCallCutOff holds that a call which ends before the mount answers leaves
// nothing.
func TestCallCutOff(t *testing.T) {
	p, release := heldStore(t)
	defer close(release)
	d := startDriver(t)
	ctx, cancel := context.WithCancel(t.Context())
	request := d.request(t, "volume", "a", attributes(p.Endpoint, nil), keys())
	answer := make(chan error)
	go func() {
		_, err := d.node.NodePublishVolume(ctx, request)
		answer <- err
	}()
	rig.Await(t, "a request to the server", func() bool { return p.Stats().Faults > 0 })
	cancel()
	checkRefused(t, <-answer, codes.Canceled)
	d.awaitMountds(t, 0)
	rig.Await(t, "the target is removed", func() bool {
		_, err := os.Lstat(d.target("a"))
		return os.IsNotExist(err)
	})
}
