package kubernetes

import (
	"os"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// TestRefusedVolumes holds what each wrong volume is answered with, and that
// nothing is left of it.
func TestRefusedVolumes(t *testing.T) {
	d := startDriver(t, theStage.Server.Env()...)
	inline := map[string]string{"csi.storage.k8s.io/ephemeral": "true"}
	cases := map[string]struct {
		more, secrets map[string]string
		change        func(*csi.NodePublishVolumeRequest)
		code          codes.Code
		names         []string
	}{
		"no such bucket":       {more: map[string]string{"source": "s3://nothing-of-that-name"}, code: codes.FailedPrecondition, names: []string{"nothing-of-that-name"}},
		"no source":            {more: map[string]string{"source": ""}, code: codes.InvalidArgument, names: []string{"source"}},
		"a folder of the node": {more: map[string]string{"source": "/etc"}, code: codes.InvalidArgument, names: []string{"/etc"}},
		"unknown attribute":    {more: map[string]string{"memorylimit": "1Gi"}, code: codes.InvalidArgument, names: []string{"memorylimit", "memoryLimit"}},
		"a port of the node":   {more: map[string]string{"http": ":9180"}, code: codes.InvalidArgument, names: []string{"http"}},
		"wrong value":          {more: map[string]string{"prefetch": "much"}, code: codes.InvalidArgument, names: []string{"prefetch", "much"}},
		"inline, of the node":  {more: inline, code: codes.PermissionDenied, names: []string{"roleArn"}},
		"inline, too large":    {more: map[string]string{"csi.storage.k8s.io/ephemeral": "true", "memoryLimit": "1Gi"}, secrets: keys(), code: codes.PermissionDenied, names: []string{"64MiB"}},
		"unknown key":          {secrets: map[string]string{"password": "x"}, code: codes.InvalidArgument, names: []string{"password"}},
		"half a secret":        {secrets: map[string]string{"AWS_ACCESS_KEY_ID": "x"}, code: codes.InvalidArgument, names: []string{"AWS_SECRET_ACCESS_KEY"}},
		"role without token":   {more: map[string]string{"roleArn": "arn:aws:iam::1:role/r"}, code: codes.InvalidArgument, names: []string{"tokenRequests"}},
		"writers": {change: func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)
		}, code: codes.InvalidArgument, names: []string{"MULTI_NODE_MULTI_WRITER"}},
		"a block volume": {change: func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}, code: codes.InvalidArgument, names: []string{"block"}},
		"mount options": {change: func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.GetMount().MountFlags = []string{"ro", "allow_root"}
		}, code: codes.InvalidArgument, names: []string{"allow_root"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			request := d.request(t, "volume-x", "x", attributes(theStage.Server.Endpoint, c.more), c.secrets)
			if c.change != nil {
				c.change(request)
			}
			_, err := d.node.NodePublishVolume(t.Context(), request)
			checkRefused(t, err, c.code, append(c.names, "volume-x")...)
			if _, err := os.Lstat(d.target("x")); !os.IsNotExist(err) {
				t.Errorf("the target is there: %v", err)
			}
			if left := append(d.mounts(t), d.mountds(t)...); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestTargetInUse holds that a target which shows something else is left alone.
func TestTargetInUse(t *testing.T) {
	d := startDriver(t)
	reader := startPod(t)
	file := d.publish(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	request := d.request(t, "other", "a", attributes(theStage.Server.Endpoint, map[string]string{"source": "s3://models"}), keys())
	_, err := d.node.NodePublishVolume(t.Context(), request)
	checkRefused(t, err, codes.AlreadyExists, "s3://models/llama")
	reader.checkReads(t, file)
	d.unpublish(t, "volume", "a")
}

// TestReadOnly holds that a pod cannot write, whatever access mode was asked for.
func TestReadOnly(t *testing.T) {
	d := startDriver(t)
	request := d.request(t, "volume", "a", attributes(theStage.Server.Endpoint, nil), keys())
	request.VolumeCapability = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	request.Readonly = false
	_, err := d.node.NodePublishVolume(t.Context(), request)
	noError(t, err)
	if result := startPod(t).run(t, "touch", d.target("a")+"/new"); result.Code == 0 {
		t.Error("a pod wrote")
	}
	d.unpublish(t, "volume", "a")
}
