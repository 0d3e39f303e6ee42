package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weightfs/cmd/cli"
	"weightfs/cmd/csi/mounts"
	"weightfs/cmd/csi/volume"
)

// driver is what the services share.
type driver struct {
	pool    *mounts.Pool
	policy  volume.Policy
	nodeID  string
	logger  *slog.Logger
	volumes mounts.Locks // by volume id: one call for a volume at a time
}

// server is the three services at one socket.
type server struct {
	grpc   *grpc.Server
	logger *slog.Logger
}

func newServer(d *driver) *server {
	s := &server{grpc: grpc.NewServer(grpc.UnaryInterceptor(d.log)), logger: d.logger}
	csi.RegisterIdentityServer(s.grpc, identity{driver: d})
	csi.RegisterControllerServer(s.grpc, newController())
	csi.RegisterNodeServer(s.grpc, node{driver: d})
	return s
}

// listen makes the socket of a unix:// URL. What a predecessor left is removed.
func listen(endpoint string) (net.Listener, error) {
	name, ok := strings.CutPrefix(endpoint, "unix:")
	name = strings.TrimPrefix(name, "//")
	if !ok || name == "" {
		return nil, cli.Usagef("--endpoint %q is not unix:///PATH", endpoint)
	}
	if info, err := os.Lstat(name); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("endpoint: %w", err)
		}
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	// Secrets come over it.
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("endpoint: %w", err), listener.Close())
	}
	return listener, nil
}

// lastCalls is how long calls under way may take once we were told to end.
const lastCalls = 20 * time.Second

// serve answers until ctx ends.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- s.grpc.Serve(listener) }()
	s.logger.Info("serving", "endpoint", listener.Addr().String(), "version", cli.Version())
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(lastCalls, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
	return <-ended
}

// log logs how each call ended, and no part of a request but the volume's id:
// secrets are among the rest.
func (d *driver) log(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	began := time.Now()
	resp, err := handler(ctx, req)
	attrs := []any{"method", info.FullMethod, "duration", time.Since(began).Round(time.Millisecond)}
	if named, ok := req.(interface{ GetVolumeId() string }); ok {
		attrs = append(attrs, "volume", named.GetVolumeId())
	}
	if err != nil {
		d.logger.Warn("call failed", append(attrs, "code", status.Code(err), "err", status.Convert(err).Message())...)
	} else {
		d.logger.Debug("call", attrs...)
	}
	return resp, err
}

// lockVolume sees to it that no two calls for a volume run at once.
func (d *driver) lockVolume(id string) (unlock func(), err error) {
	unlock, ok := d.volumes.TryLock(id)
	if !ok {
		return nil, status.Errorf(codes.Aborted, "volume %s: another call for it is under way", id)
	}
	return unlock, nil
}

// failure is err as the answer to a call for a volume.
func failure(id string, err error) error {
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, mounts.ErrFull):
		code = codes.ResourceExhausted
	case errors.Is(err, mounts.ErrRefused):
		code = codes.InvalidArgument
	case errors.Is(err, mounts.ErrSource), errors.Is(err, mounts.ErrStaged):
		code = codes.FailedPrecondition
	}
	return status.Errorf(code, "volume %s: %v", id, err)
}
