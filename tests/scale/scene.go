package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

const (
	bucket = "models"
	object = "model.safetensors"
	// maxNodes is how many addresses the network has, but for the store and the cache.
	maxNodes = 200
	// memoryLimit of a mountd has room for as many blocks as it picks the next one of.
	memoryLimit = 320 << 20
	// apart is how many machines a cache has that is on machines of its own.
	apart = 3
)

// scene is the store and the machines. It is used by one goroutine.
type scene struct {
	*lab.Stage
	opts   options
	store  *proxy.Proxy // before the server, at an address of the network
	nodes  []*machine
	apart  []*machine // of a cache on machines of its own
	size   int64      // of the object
	digest string     // its SHA-256, as sha256sum prints it
}

// newScene makes the object and as many machines as there are at most. This program
// is on the store's machine.
func newScene(ctx context.Context, o options) (_ *scene, err error) {
	s := &scene{opts: o}
	network, err := newNetwork(ctx)
	if err != nil {
		return nil, err
	}
	store := &machine{name: "store"}
	if err := errors.Join(store.run(ctx, "ip link set lo up"), network.connect(ctx, store, int64(o.storeRate))); err != nil {
		return nil, err
	}
	for i := range slices.Max(o.nodes) + apart {
		m, err := network.add(ctx, fmt.Sprint("machine ", i), int64(o.nodeRate))
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, m)
	}
	s.nodes, s.apart = s.nodes[apart:], s.nodes[:apart]
	if s.Stage, err = lab.NewStage(ctx, "scale", bucket); err != nil {
		return nil, err
	}
	if s.store, err = proxy.NewAt(store.address, s.Server.Endpoint); err != nil {
		return nil, errors.Join(err, s.Stage.Close())
	}
	if err := s.makeObject(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// makeObject stores the object in the bucket.
func (s *scene) makeObject(ctx context.Context) error {
	names, err := rig.WriteCheckpoint(s.Scratch, rig.Checkpoint{Size: int64(s.opts.Size)})
	if err != nil {
		return err
	}
	path := filepath.Join(s.Scratch, names[0])
	if s.size, s.digest, err = sum(ctx, path); err != nil {
		return err
	}
	return s.Server.PutFile(ctx, bucket, object, path)
}

// sum reads a file in a child, and returns its size and its SHA-256.
func sum(ctx context.Context, path string) (size int64, digest string, err error) {
	r, err := lab.Exec(exec.CommandContext(ctx, "sh", "-c", `stat -c %s "$0" && sha256sum <"$0"`, path))
	if err != nil {
		return 0, "", err
	}
	_, err = fmt.Sscan(string(r.Output), &size, &digest)
	return size, digest, err
}

// Close ends the server; the machines end with this program.
func (s *scene) Close() error { return errors.Join(s.store.Close(), s.Stage.Close()) }

// mountAll mounts the bucket on the first n nodes, with further flags.
func (s *scene) mountAll(ctx context.Context, n int, flags []string) ([]*rig.Mount, error) {
	mounts := make([]*rig.Mount, n)
	var group errgroup.Group
	for i := range mounts {
		group.Go(func() (err error) {
			mounts[i], err = s.Mount(ctx, rig.MountOptions{
				Source: "s3://" + bucket, Under: s.nodes[i].under(),
				Args: append([]string{fmt.Sprint("--memory-limit=", memoryLimit), fmt.Sprint("--concurrency=", window)}, flags...),
				Env:  append(s.Server.Env(), "AWS_ENDPOINT_URL="+s.store.Endpoint),
			})
			return err
		})
	}
	err := group.Wait()
	if err != nil {
		err = errors.Join(err, unmountAll(mounts))
	}
	return mounts, err
}

// unmountAll ends those mounts that there are.
func unmountAll(mounts []*rig.Mount) error {
	var group errgroup.Group
	for _, m := range mounts {
		if m != nil {
			group.Go(m.Close)
		}
	}
	return group.Wait()
}

// warnings are the lines that mountds have logged of what went wrong.
func warnings(mounts []*rig.Mount) (lines []string) {
	for _, m := range mounts {
		for line := range strings.Lines(m.Output()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}
