package kubernetes

import (
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"weightfs/tests/proxy"
)

// TestPodsShareOneDownload holds that two pods with different volumes of the same
// source are served by one mountd, which fetches each byte once, and that it ends
// with the last of them.
func TestPodsShareOneDownload(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	d := startDriver(t)
	pods := []pod{startPod(t), startPod(t)}
	files := []string{
		d.publish(t, "volume-1", "a", attributes(p.Endpoint, nil), keys()),
		d.publish(t, "volume-2", "b", attributes(p.Endpoint, map[string]string{"source": "s3://models/llama/"}), keys()),
	}
	mountd := d.mountd(t)
	var wg sync.WaitGroup
	for i, file := range files {
		wg.Go(func() { pods[i].checkReads(t, file) })
	}
	wg.Wait()
	// A request that stalls may be made anew at its last byte: twice would be all.
	t.Logf("%d bytes were fetched of a file of %d", p.Stats().Bytes["GET"], theStage.size)
	if got := p.Stats().Bytes["GET"]; got < theStage.size || got > theStage.size*3/2 {
		t.Errorf("%d bytes were fetched of a file of %d", got, theStage.size)
	}
	d.unpublish(t, "volume-1", "a")
	if d.mountd(t) != mountd {
		t.Error("another mountd serves the second pod")
	}
	pods[1].checkReads(t, files[1])
	d.unpublish(t, "volume-2", "b")
	d.awaitMountds(t, 0)
}

// TestSettingsApart holds that volumes with other flags have a mountd of their
// own.
func TestSettingsApart(t *testing.T) {
	d := startDriver(t)
	reader := startPod(t)
	for name, limit := range map[string]string{"a": "32Mi", "b": "48Mi"} {
		reader.checkReads(t, d.publish(t, name, name, attributes(theStage.Server.Endpoint, map[string]string{"memoryLimit": limit}), keys()))
	}
	d.awaitMountds(t, 2)
	d.unpublish(t, "a", "a")
	d.awaitMountds(t, 1)
	d.unpublish(t, "b", "b")
	d.awaitMountds(t, 0)
}

// TestNoRoom holds that a node serves no more mounts than it may, of those that a
// former driver left too, that pods still share those, and that one which ends
// makes room.
func TestNoRoom(t *testing.T) {
	d := startDriver(t)
	volume := attributes(theStage.Server.Endpoint, nil)
	d.publish(t, "1", "a", volume, keys())
	d.restart(t, "--max-mounts", "1")
	d.publish(t, "2", "b", volume, keys())
	other := attributes(theStage.Server.Endpoint, map[string]string{"source": "s3://" + bucket})
	_, err := d.node.NodePublishVolume(t.Context(), d.request(t, "3", "c", other, keys()))
	checkRefused(t, err, codes.ResourceExhausted, "volume 3", "room")
	d.unpublish(t, "1", "a")
	d.unpublish(t, "2", "b")
	d.publish(t, "3", "c", other, keys())
	d.unpublish(t, "3", "c")
	d.awaitMountds(t, 0)
}

// TestManyPodsAtOnce has pods of two sources come and go at the same time: each
// reads while it is there, and the mountds end with the last.
func TestManyPodsAtOnce(t *testing.T) {
	const pods, rounds = 10, 4
	d := startDriver(t)
	sources := []string{"s3://" + bucket + "/" + prefix, "s3://" + bucket}
	files := []string{"/" + object, "/" + prefix + "/" + object}
	var wg sync.WaitGroup
	for i := range pods {
		name := fmt.Sprint("pod-", i)
		wg.Go(func() {
			for range rounds {
				d.publish(t, name, name, attributes(theStage.Server.Endpoint, map[string]string{"source": sources[i%2]}), keys())
				if out, err := exec.Command("head", "-c", "8", d.target(name)+files[i%2]).CombinedOutput(); err != nil || len(out) != 8 {
					t.Errorf("%s reads %q: %v", name, out, err)
				}
				d.unpublish(t, name, name)
			}
		})
	}
	wg.Wait()
	d.awaitMountds(t, 0)
}
