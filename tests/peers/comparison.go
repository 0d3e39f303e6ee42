package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket holds one object.
const bucket = "models"

// comparison is what the samples share. It is used by one goroutine.
type comparison struct {
	*lab.Stage
	opts    lab.Settings
	key     string
	copied  string // the object as a local file, on tmpfs
	size    int64  // of the object
	tensors map[string]rig.Tensor
	bytes   int64 // of the tensors
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

// newComparison builds the programs, starts the server and stores the object, of a
// dtype that numpy knows.
func newComparison(ctx context.Context, o lab.Settings) (_ *comparison, err error) {
	c := &comparison{opts: o}
	if c.Stage, err = lab.NewStage(ctx, "peers", bucket); err != nil {
		return nil, err
	}
	names, err := rig.WriteCheckpoint(c.Scratch, rig.Checkpoint{Size: int64(c.opts.Size), Dtypes: []string{"F16"}})
	if err == nil {
		err = c.describeObject(ctx, filepath.Join(c.Scratch, names[0]))
	}
	if err == nil {
		err = c.Server.PutFile(ctx, bucket, c.key, c.copied)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// describeObject notes what the object is, by its local copy.
func (c *comparison) describeObject(ctx context.Context, path string) error {
	c.key, c.copied = filepath.Base(path), path
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	c.size = info.Size()
	if c.tensors, err = c.Reference(ctx, path); err != nil {
		return err
	}
	for _, t := range c.tensors {
		c.bytes += t.Nbytes
	}
	return nil
}

// endpoint is where a load finds the store: behind the proxy where that shapes
// or counts.
func (c *comparison) endpoint(p place, counted bool) string {
	if counted || p.shape != (proxy.Shape{}) {
		return c.Proxy.Endpoint
	}
	return c.Server.Endpoint
}

// environment is the whole environment of a peer. What is to be switched off is
// left out: several peers take an empty variable for a value.
func (c *comparison) environment(endpoint string) []string {
	env := []string{"TMPDIR=" + c.Disk}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "AWS_") && !strings.HasPrefix(entry, "TMPDIR=") {
			env = append(env, entry)
		}
	}
	for _, entry := range append(c.Server.Env(), "AWS_ENDPOINT_URL="+endpoint) {
		if !strings.HasSuffix(entry, "=") {
			env = append(env, entry)
		}
	}
	return env
}

// lineRate is what a plain client gets, in bytes per second.
func (c *comparison) lineRate(ctx context.Context, p place) (float64, error) {
	env := append(c.Server.Env(), "AWS_ENDPOINT_URL="+c.endpoint(p, false))
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
