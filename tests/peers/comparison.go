package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket holds one object.
const bucket = "models"

// comparison is what the samples share. It is used by one goroutine.
type comparison struct {
	opts     options
	root     string // of the module
	programs *rig.Programs
	server   *rig.Server
	proxy    *proxy.Proxy
	scratch  string // on tmpfs: the server's files
	local    string // on a disk: copies and mountpoints
	key      string
	copied   string // the object as a local file, on tmpfs
	size     int64  // of the object
	tensors  map[string]rig.Tensor
	bytes    int64 // of the tensors
	began    time.Time
}

// place is one way to reach the object, and how much memory there is for it.
type place struct {
	name string
	// shape is how far away the store seems; the zero value is plain loopback.
	shape proxy.Shape
	// connections are the plain client's.
	connections int
	// over says that the object is twice as large as the limit of mounts, and not
	// half as large.
	over bool
}

func places() []place {
	near := place{name: "loopback", connections: 16}
	far := place{name: "S3-like", shape: proxy.S3Like(), connections: 32}
	nearOver, farOver := near, far
	nearOver.name, nearOver.over = "loopback, twice the limit", true
	farOver.name, farOver.over = "S3-like, twice the limit", true
	return []place{near, nearOver, far, farOver}
}

// limit is the most that a mount may keep of an object of so many bytes.
func (p place) limit(size int64) int64 {
	if p.over {
		return size / 2
	}
	return 2 * size
}

// newComparison builds the programs, starts the server and stores the object.
func newComparison(ctx context.Context, o options) (_ *comparison, err error) {
	c := &comparison{opts: o, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.root, err = rig.Root(); err != nil {
		return nil, err
	}
	if c.scratch, err = os.MkdirTemp(o.Scratch, "weightfs-peers-"); err != nil {
		return nil, err
	}
	if c.local, err = os.MkdirTemp(o.Local, "weightfs-peers-"); err != nil {
		return nil, err
	}
	if c.programs, err = rig.Build(ctx, c.local); err != nil {
		return nil, err
	}
	data := filepath.Join(c.scratch, "served")
	if err = os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	if c.server, err = rig.NewServer(ctx, rig.ServerOptions{Dir: data}); err != nil {
		return nil, err
	}
	if c.proxy, err = proxy.New(c.server.Endpoint); err != nil {
		return nil, err
	}
	return c, c.upload(ctx)
}

// upload makes the object, of a dtype that numpy knows.
func (c *comparison) upload(ctx context.Context) error {
	names, err := rig.WriteCheckpoint(c.scratch, rig.Checkpoint{Size: int64(c.opts.Size), Dtypes: []string{"F16"}})
	if err != nil {
		return err
	}
	if err := c.describeObject(ctx, filepath.Join(c.scratch, names[0])); err != nil {
		return err
	}
	if err := c.server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	return c.server.PutFile(ctx, bucket, c.key, c.copied)
}

// describeObject notes what the object is, by its local copy.
func (c *comparison) describeObject(ctx context.Context, path string) error {
	c.key, c.copied = filepath.Base(path), path
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	c.size = info.Size()
	if c.tensors, err = c.programs.Reference(ctx, path); err != nil {
		return err
	}
	for _, t := range c.tensors {
		c.bytes += t.Nbytes
	}
	return nil
}

func (c *comparison) close() error {
	var errs []error
	if c.proxy != nil {
		errs = append(errs, c.proxy.Close())
	}
	if c.server != nil {
		errs = append(errs, c.server.Close())
	}
	for _, dir := range []string{c.scratch, c.local} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// endpoint is where a load finds the store: behind the proxy where that shapes
// or counts.
func (c *comparison) endpoint(p place, counted bool) string {
	if counted || p.shape != (proxy.Shape{}) {
		return c.proxy.Endpoint
	}
	return c.server.Endpoint
}

// environment is the whole environment of a peer. What is to be switched off is
// left out: several peers take an empty variable for a value.
func (c *comparison) environment(endpoint string) []string {
	env := []string{"TMPDIR=" + c.local}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "AWS_") && !strings.HasPrefix(entry, "TMPDIR=") {
			env = append(env, entry)
		}
	}
	for _, entry := range append(c.server.Env(), "AWS_ENDPOINT_URL="+endpoint) {
		if !strings.HasSuffix(entry, "=") {
			env = append(env, entry)
		}
	}
	return env
}

// lineRate is what a plain client gets, in bytes per second.
func (c *comparison) lineRate(ctx context.Context, p place) (float64, error) {
	env := append(c.server.Env(), "AWS_ENDPOINT_URL="+c.endpoint(p, false))
	reports, err := workload.Run(ctx, workload.Options{Env: env}, &workload.Fetch{
		Bucket: bucket, Key: c.key, Connections: p.connections, Part: 8 << 20,
	})
	if err != nil {
		return 0, fmt.Errorf("plain client: %w", err)
	}
	return reports[0].Rate(), nil
}

// cool drops the page cache; the server's files lie on tmpfs, where they stay.
// Before a load that is timed it then touches as much memory as that takes, for
// the page cache, the mount and the reader: the pages of a guest cost many times
// as much at their first use.
func (c *comparison) cool(ctx context.Context, timed bool) error {
	if err := lab.DropCaches(); err != nil || !timed {
		return err
	}
	_, err := workload.Run(ctx, workload.Options{}, &workload.Touch{Bytes: 3 * c.size})
	return err
}
