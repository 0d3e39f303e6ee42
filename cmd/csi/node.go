package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weightfs/cmd/csi/mounts"
	"weightfs/cmd/csi/volume"
)

// node shows volumes on this node.
type node struct {
	csi.UnimplementedNodeServer
	*driver
}

var errNoVolumeID = status.Error(codes.InvalidArgument, "the volume id is missing")

// NodeGetInfo implements csi.NodeServer.
func (n node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.nodeID}, nil
}

// NodeGetCapabilities implements csi.NodeServer.
func (node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, able := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
	} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: able}},
		})
	}
	return response, nil
}

// NodeStageVolume implements csi.NodeServer. It mounts where the volume has a
// secret for it. Otherwise publishing does: only then is the pod's service
// account known.
func (n node) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	id, target := req.GetVolumeId(), req.GetStagingTargetPath()
	if err := checkRequest(id, target, req.GetVolumeCapability()); err != nil {
		return nil, err
	}
	unlock, err := n.lockVolume(id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if len(req.GetSecrets()) == 0 {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	spec, err := n.parse(id, req.GetVolumeContext(), req.GetSecrets())
	if err != nil {
		return nil, err
	}
	if err := n.show(ctx, id, spec, target); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// NodeUnstageVolume implements csi.NodeServer. The folder is kubelet's.
func (n node) NodeUnstageVolume(ctx context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := n.release(ctx, req.GetVolumeId(), req.GetStagingTargetPath(), nil); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// release ends the use of a volume at target, and then does what is left to do
// while the volume is locked.
func (n node) release(ctx context.Context, id, target string, then func(target string) error) error {
	if err := checkNames(id, target); err != nil {
		return err
	}
	unlock, err := n.lockVolume(id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.pool.Release(ctx, target); err != nil {
		return failure(id, err)
	}
	if then == nil {
		return nil
	}
	if err := then(target); err != nil {
		return failure(id, err)
	}
	return nil
}

// NodePublishVolume implements csi.NodeServer. kubelet calls it again from time
// to time, with a new token.
func (n node) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, target := req.GetVolumeId(), req.GetTargetPath()
	if err := checkRequest(id, target, req.GetVolumeCapability()); err != nil {
		return nil, err
	}
	unlock, err := n.lockVolume(id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.publish(ctx, req); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publish shows the volume at its target: what is staged, unless the call brings
// credentials of its own.
func (n node) publish(ctx context.Context, req *csi.NodePublishVolumeRequest) error {
	id, target, staging := req.GetVolumeId(), req.GetTargetPath(), req.GetStagingTargetPath()
	if staging != "" && len(req.GetSecrets()) == 0 {
		staged, isStaged, err := n.pool.At(staging)
		if err != nil {
			return failure(id, err)
		}
		// Whatever became of it: the node's credentials are not for this volume.
		if isStaged && staged.Ours {
			_, err := n.place(ctx, id, staged.Source, target, func() error { return n.pool.BindStaged(ctx, staged, target) })
			return err
		}
	}
	spec, err := n.parse(id, req.GetVolumeContext(), req.GetSecrets())
	if err != nil {
		return err
	}
	return n.show(ctx, id, spec, target)
}

// parse reads what the volume asks for.
func (n node) parse(id string, attributes, secrets map[string]string) (volume.Spec, error) {
	spec, err := volume.Parse(attributes, secrets, n.policy)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return spec, status.Errorf(codes.PermissionDenied, "volume %s: %v", id, err)
	case err != nil:
		return spec, status.Errorf(codes.InvalidArgument, "volume %s: %v", id, err)
	}
	return spec, nil
}

// show shows spec at target, and hands on a new token where it is shown already.
func (n node) show(ctx context.Context, id string, spec volume.Spec, target string) error {
	there, err := n.place(ctx, id, spec.Source, target, func() error { return n.pool.Bind(ctx, spec, target) })
	if err != nil || there == nil {
		return err
	}
	return failure(id, n.pool.Refresh(ctx, there.Digest, spec))
}

// place sees to it that source is shown at target, by bind where it is not yet.
// A dead mount is replaced. What it returns is the mount that was there.
func (n node) place(ctx context.Context, id, source, target string, bind func() error) (there *mounts.Mount, err error) {
	found, mounted, err := n.pool.At(target)
	if err != nil {
		return nil, failure(id, err)
	}
	if mounted && (!found.Ours || found.Source != source) {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s: %s shows %s already", id, target, found.Source)
	}
	if mounted {
		err := mounts.Answers(ctx, target)
		if err == nil {
			return &found, nil
		}
		if !errors.Is(err, unix.ENOTCONN) {
			return nil, failure(id, fmt.Errorf("%s does not answer: %w", target, err))
		}
		if err := n.pool.Release(ctx, target); err != nil {
			return nil, failure(id, err)
		}
	}
	made, err := makeTarget(target)
	if err != nil {
		return nil, failure(id, err)
	}
	if err := bind(); err != nil {
		if made {
			err = errors.Join(err, os.Remove(target))
		}
		return nil, failure(id, err)
	}
	n.logger.Info("volume shown", "volume", id, "source", source, "target", target)
	return nil, nil
}

// makeTarget makes the folder, whose parent is kubelet's.
func makeTarget(target string) (made bool, err error) {
	if err := os.Mkdir(target, 0o750); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		return false, fmt.Errorf("make the target: %w", err)
	}
	return true, nil
}

// removeTarget removes the folder that makeTarget made.
func removeTarget(target string) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the target: %w", err)
	}
	return nil
}

// NodeUnpublishVolume implements csi.NodeServer.
func (n node) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := n.release(ctx, req.GetVolumeId(), req.GetTargetPath(), removeTarget); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
