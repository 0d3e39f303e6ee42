package main

import (
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// checkNames checks what every call about a path has.
func checkNames(id, path string) error {
	switch {
	case id == "":
		return errNoVolumeID
	case path == "":
		return status.Errorf(codes.InvalidArgument, "volume %s: the path is missing", id)
	case !filepath.IsAbs(path):
		return status.Errorf(codes.InvalidArgument, "volume %s: path %q is not absolute", id, path)
	}
	return nil
}

// checkRequest checks what every call that shows a volume has.
func checkRequest(id, path string, capability *csi.VolumeCapability) error {
	if err := checkNames(id, path); err != nil {
		return err
	}
	if err := checkCapability(capability); err != nil {
		return status.Errorf(codes.InvalidArgument, "volume %s: %v", id, err)
	}
	return nil
}

// checkCapability takes volumes of files that are read.
//
// A single node's writer is taken too, and gets a mount that is read-only:
// kubelet asks for that mode, and no other, for every inline volume.
func checkCapability(capability *csi.VolumeCapability) error {
	if capability == nil {
		return fmt.Errorf("the capability is missing")
	}
	mount := capability.GetMount()
	if mount == nil {
		return fmt.Errorf("the access type must be mount: there are no block volumes")
	}
	if fsType := mount.GetFsType(); fsType != "" {
		return fmt.Errorf("file system type %q: leave it out", fsType)
	}
	for _, flag := range mount.GetMountFlags() {
		if flag != "ro" {
			return fmt.Errorf("mount option %q: say it by an attribute of the volume", flag)
		}
	}
	switch mode := capability.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER:
		return nil
	default:
		return fmt.Errorf("access mode %s: volumes are read-only", mode)
	}
}
