package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weightfs/cmd/csi/mounts"
)

// This file is what the node service tells of volumes that are shown: whether
// their mounts answer. A bucket has no size.

// NodeGetVolumeStats implements csi.NodeServer. It fails for a mount that does
// not answer.
func (n node) NodeGetVolumeStats(ctx context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	id, path := req.GetVolumeId(), req.GetVolumePath()
	if err := n.checkShown(id, path); err != nil {
		return nil, err
	}
	if err := mounts.Answers(ctx, path); err != nil {
		return nil, failure(id, fmt.Errorf("%s does not answer: %w", path, err))
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES}}}, nil
}

// NodeGetVolumeHealth implements csi.NodeServer, for the paths that it is given:
// kubelet may give none.
func (n node) NodeGetVolumeHealth(ctx context.Context, req *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	id := req.GetVolumeId()
	if id == "" {
		return nil, errNoVolumeID
	}
	health := &csi.VolumeHealth{VolumeId: id}
	for _, path := range []string{req.GetStagingTargetPath(), req.GetVolumePublishPath()} {
		if path == "" {
			continue
		}
		there, mounted, err := n.pool.At(path)
		if err != nil {
			return nil, failure(id, err)
		}
		if !mounted || !there.Ours { // nothing is staged without a secret for it
			continue
		}
		if err := mounts.Answers(ctx, path); err != nil {
			health.HealthStatuses = []*csi.VolumeHealth_VolumeHealthEntry{{
				Status: csi.VolumeHealthErrorType_INACCESSIBLE, Reason: "MountDoesNotAnswer", Message: fmt.Sprintf("%s: %v", path, err),
			}}
		}
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

// checkShown checks that a volume is shown at path.
func (n node) checkShown(id, path string) error {
	switch {
	case id == "":
		return errNoVolumeID
	case path == "":
		return status.Errorf(codes.InvalidArgument, "volume %s: its path is missing", id)
	case !filepath.IsAbs(path):
		return status.Errorf(codes.NotFound, "volume %s: nothing is shown at %s", id, path)
	}
	there, mounted, err := n.pool.At(path)
	if err != nil {
		return failure(id, err)
	}
	if !mounted || !there.Ours {
		return status.Errorf(codes.NotFound, "volume %s: nothing is shown at %s", id, path)
	}
	return nil
}
