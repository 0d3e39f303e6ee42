package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weightfs/cmd/csi/volume"
)

// controller gives names to volumes for a StorageClass, whose parameters are
// their attributes. It makes and deletes nothing in a bucket.
type controller struct {
	csi.UnimplementedControllerServer

	mu      sync.Mutex
	created map[string]string // volume id by name; guarded by mu
}

func newController() *controller { return &controller{created: map[string]string{}} }

// volumeIDPattern is what CreateVolume answers with.
var volumeIDPattern = regexp.MustCompile(`^weightfs-[0-9a-f]{32}$`)

// ControllerGetCapabilities implements csi.ControllerServer.
func (*controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{
			Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

// CreateVolume implements csi.ControllerServer. The volume's id is a digest of
// what is asked for, so that asking again gives the same. A name for two
// different things is refused for as long as this process remembers the first.
func (c *controller) CreateVolume(_ context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	name := req.GetName()
	if name == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume without a name")
	}
	if err := checkCapabilities(req.GetVolumeCapabilities()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s: %v", name, err)
	}
	if req.GetVolumeContentSource() != nil {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s: neither snapshots nor clones are supported", name)
	}
	if err := volume.Check(req.GetParameters()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s: %v", name, err)
	}
	id, err := volumeID(req)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "volume %s: %v", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, exists := c.created[name]; exists && known != id {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s exists with other parameters", name)
	}
	c.created[name] = id
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:      id,
		CapacityBytes: req.GetCapacityRange().GetRequiredBytes(),
		VolumeContext: req.GetParameters(),
	}}, nil
}

// volumeID is a digest of what makes volumes different.
func volumeID(req *csi.CreateVolumeRequest) (string, error) {
	size := req.GetCapacityRange()
	text, err := json.Marshal([]any{req.GetName(), req.GetParameters(), size.GetRequiredBytes(), size.GetLimitBytes()})
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(text)
	return "weightfs-" + hex.EncodeToString(digest[:16]), nil
}

// DeleteVolume implements csi.ControllerServer. Objects stay as they are.
func (c *controller) DeleteVolume(_ context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, errNoVolumeID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, id := range c.created {
		if id == req.GetVolumeId() {
			delete(c.created, name)
		}
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (*controller) ValidateVolumeCapabilities(_ context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	id, capabilities := req.GetVolumeId(), req.GetVolumeCapabilities()
	switch {
	case id == "":
		return nil, errNoVolumeID
	case len(capabilities) == 0:
		return nil, status.Errorf(codes.InvalidArgument, "volume %s: no capabilities are given", id)
	case !volumeIDPattern.MatchString(id):
		return nil, status.Errorf(codes.NotFound, "volume %s: no such volume", id)
	}
	if err := checkCapabilities(capabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: req.GetVolumeContext(), VolumeCapabilities: capabilities, Parameters: req.GetParameters(),
	}}, nil
}

// checkCapabilities checks what a volume is to be able to.
func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return fmt.Errorf("no capabilities are given")
	}
	for _, capability := range capabilities {
		if err := checkCapability(capability); err != nil {
			return err
		}
	}
	return nil
}
