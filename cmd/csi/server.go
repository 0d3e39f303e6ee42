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

// socket is where the server listens. It has its name once it is shown.
type socket struct {
	net.Listener
	name string
	info fs.FileInfo // of the file of that name
}

// hiddenSuffix is what the socket's name has beside its own until it is shown.
const hiddenSuffix = ".new"

// listen makes the socket of a unix:// URL.
func listen(endpoint string) (*socket, error) {
	name, ok := strings.CutPrefix(endpoint, "unix:")
	name = strings.TrimPrefix(name, "//")
	if !ok || name == "" {
		return nil, cli.Usagef("--endpoint %q is not unix:///PATH", endpoint)
	}
	hidden := name + hiddenSuffix
	if err := os.Remove(hidden); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	listener, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // a successor may have the name then
	// Secrets come over it.
	err = os.Chmod(hidden, 0o600)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(hidden)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("endpoint: %w", err), listener.Close())
	}
	return &socket{listener, name, info}, nil
}

// show gives the socket its name, which a predecessor's may have had until then.
func (s *socket) show() error {
	if info, err := os.Lstat(s.name); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("endpoint: %s is there already, and no socket", s.name)
	}
	if err := os.Rename(s.name+hiddenSuffix, s.name); err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	return nil
}

// Close ends the socket, and removes its file where no successor's has taken its place.
func (s *socket) Close() error {
	err := s.Listener.Close()
	for _, name := range []string{s.name, s.name + hiddenSuffix} {
		if now, statErr := os.Lstat(name); statErr == nil && os.SameFile(now, s.info) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// lastCalls is how long calls under way may take once we were told to end.
const lastCalls = 20 * time.Second

// serve answers until ctx ends, by which the socket is closed.
func (s *server) serve(ctx context.Context, socket *socket) error {
	ended := make(chan error, 1)
	go func() { ended <- s.grpc.Serve(socket) }()
	s.logger.Info("serving", "endpoint", socket.name, "version", cli.Version())
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
	case errors.Is(err, mounts.ErrReplaced):
		code = codes.Unavailable
	case errors.Is(err, mounts.ErrFull):
		code = codes.ResourceExhausted
	case errors.Is(err, mounts.ErrRefused):
		code = codes.InvalidArgument
	case errors.Is(err, mounts.ErrSource), errors.Is(err, mounts.ErrStaged):
		code = codes.FailedPrecondition
	}
	return status.Errorf(code, "volume %s: %v", id, err)
}
