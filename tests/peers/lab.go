package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket holds one object.
const bucket = "models"

// lab is what the samples share. It is used by one goroutine.
type lab struct {
	opts     options
	root     string // of the module
	programs *rig.Programs
	server   *rig.Server
	proxy    *proxy.Proxy
	scratch  string // on tmpfs: the server's files and the peers' caches
	local    string // on a disk
	key      string
	copied   string // the object as a local file, on tmpfs
	size     int64  // of the object
	tensors  int64  // bytes of its tensors: all but the header
	began    time.Time
}

// store is one way to reach the object.
type store struct {
	name string
	// shape is how far away it seems; the zero value is plain loopback.
	shape proxy.Shape
	// connections are the plain client's.
	connections int
}

func stores() []store {
	return []store{
		{name: "loopback", connections: 16},
		{name: "S3-like", shape: proxy.S3Like(), connections: 32},
	}
}

// newLab builds the programs, starts the server and stores the object.
func newLab(ctx context.Context, o options) (_ *lab, err error) {
	l := &lab{opts: o, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.root, err = rig.Root(); err != nil {
		return nil, err
	}
	if l.scratch, err = os.MkdirTemp(o.scratch, "weightfs-peers-"); err != nil {
		return nil, err
	}
	if l.local, err = os.MkdirTemp(o.local, "weightfs-peers-"); err != nil {
		return nil, err
	}
	if l.programs, err = rig.Build(ctx, l.local); err != nil {
		return nil, err
	}
	data := filepath.Join(l.scratch, "served")
	if err = os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}
	if l.server, err = rig.NewServer(ctx, rig.ServerOptions{Dir: data}); err != nil {
		return nil, err
	}
	if l.proxy, err = proxy.New(l.server.Endpoint, ""); err != nil {
		return nil, err
	}
	return l, l.upload(ctx)
}

// upload makes the object, of a dtype that numpy knows.
func (l *lab) upload(ctx context.Context) error {
	held := filepath.Join(l.scratch, "held")
	if err := os.Mkdir(held, 0o755); err != nil {
		return err
	}
	names, err := rig.WriteCheckpoint(held, rig.Checkpoint{Size: int64(l.opts.size), Dtypes: []string{"F16"}})
	if err != nil {
		return err
	}
	l.key = names[0]
	l.copied = filepath.Join(held, l.key)
	info, err := os.Stat(l.copied)
	if err != nil {
		return err
	}
	l.size = info.Size()
	if l.tensors, err = tensorBytes(l.copied, l.size); err != nil {
		return err
	}
	if err := l.server.CreateBucket(ctx, bucket); err != nil {
		return err
	}
	return l.server.PutFile(ctx, bucket, l.key, l.copied)
}

// tensorBytes is what a safetensors file has after its header, which is eight
// bytes for its length and the JSON.
func tensorBytes(path string, size int64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var length uint64
	if err := binary.Read(f, binary.LittleEndian, &length); err != nil {
		return 0, fmt.Errorf("%s: length of the header: %w", path, err)
	}
	return size - 8 - int64(length), nil
}

func (l *lab) close() error {
	var errs []error
	if l.proxy != nil {
		errs = append(errs, l.proxy.Close())
	}
	if l.server != nil {
		errs = append(errs, l.server.Close())
	}
	for _, dir := range []string{l.scratch, l.local} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// endpoint is where a sample finds the store: behind the proxy where that
// shapes or counts.
func (l *lab) endpoint(s store, counted bool) string {
	if counted || s.shape != (proxy.Shape{}) {
		return l.proxy.Endpoint
	}
	return l.server.Endpoint
}

// env is what our own client needs in its environment.
func (l *lab) env(endpoint string) []string {
	return append(l.server.Env(), "AWS_ENDPOINT_URL="+endpoint)
}

// environment is the whole environment of a peer. What is to be switched off is
// left out: several peers take an empty variable for a value.
func (l *lab) environment(endpoint string) []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "AWS_") {
			env = append(env, entry)
		}
	}
	for _, entry := range l.env(endpoint) {
		if !strings.HasSuffix(entry, "=") {
			env = append(env, entry)
		}
	}
	return env
}

// lineRate is what a plain client gets, in bytes per second.
func (l *lab) lineRate(ctx context.Context, s store) (float64, error) {
	if err := dropCaches(); err != nil {
		return 0, err
	}
	reports, err := workload.Run(ctx, workload.Options{Env: l.env(l.endpoint(s, false))}, &workload.Fetch{
		Bucket: bucket, Key: l.key, Connections: s.connections, Part: 8 << 20,
	})
	if err != nil {
		return 0, fmt.Errorf("plain client: %w", err)
	}
	return reports[0].Rate(), nil
}

// cool drops the page cache. Before a sample that is timed it then touches as much
// memory as that takes, for the page cache, the mount and the reader: the pages of a
// guest cost many times as much at their first use.
func (l *lab) cool(ctx context.Context, timed bool) error {
	if err := dropCaches(); err != nil || !timed {
		return err
	}
	_, err := workload.Run(ctx, workload.Options{}, &workload.Touch{Bytes: 3 * l.size})
	return err
}

// dropCaches drops the clean pages of everything. The server's files lie on
// tmpfs, where they stay.
func dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1\n"), 0)
}
