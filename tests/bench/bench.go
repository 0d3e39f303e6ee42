package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket holds a folder for each dataset.
const bucket = "bench"

// bench is what the samples share. It is used by one goroutine.
type bench struct {
	opts     options
	root     string // of the module
	programs *rig.Programs
	barefuse string
	plain    *rig.Server
	tls      *rig.Server
	proxy    *proxy.Proxy // before plain
	scratch  string       // on tmpfs: the servers' files
	disk     string       // local files
	stored   map[string]files
	copied   map[string]files
	memory   []lab.Series
	began    time.Time
}

// store is where a client finds its objects.
type store uint8

const (
	loopback store = iota
	overTLS
	distant // S3-like, through the proxy
	folder  // a local folder
)

// newBench builds the programs and starts the servers.
func newBench(ctx context.Context, o options) (_ *bench, err error) {
	l := &bench{opts: o, stored: map[string]files{}, copied: map[string]files{}, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.root, err = rig.Root(); err != nil {
		return nil, err
	}
	if l.scratch, err = os.MkdirTemp(o.Scratch, "weightfs-bench-"); err != nil {
		return nil, err
	}
	if l.disk, err = os.MkdirTemp(o.Local, "weightfs-bench-"); err != nil {
		return nil, err
	}
	if err := l.build(ctx); err != nil {
		return nil, err
	}
	return l, l.startServers(ctx)
}

// build makes the programs, from what the working tree holds.
func (l *bench) build(ctx context.Context) (err error) {
	if l.programs, err = rig.Build(ctx, l.disk); err != nil {
		return err
	}
	l.barefuse = filepath.Join(l.disk, "barefuse")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", l.barefuse, "./tests/cmd/barefuse")
	cmd.Dir = l.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// touch is more memory than a sample of one object takes in its own time, of the
// page cache or for tensors, to be touched and freed before it.
func (l *bench) touch() *workload.Touch {
	n := int64(l.opts.touch)
	if n == 0 {
		n = 2 * int64(l.opts.Size)
	}
	return &workload.Touch{Bytes: n}
}

// touchNow touches and frees it, for a sample that work does not take: one that
// needs what is in the page cache, of which the touching makes the kernel reclaim
// some, or that cannot wait.
func (l *bench) touchNow(ctx context.Context) error {
	_, err := workload.Run(ctx, workload.Options{}, l.touch())
	return err
}

// startServers starts two servers over one folder, and the proxy.
func (l *bench) startServers(ctx context.Context) (err error) {
	data := filepath.Join(l.scratch, "served")
	if err = os.Mkdir(data, 0o755); err != nil {
		return err
	}
	if l.plain, err = rig.NewServer(ctx, rig.ServerOptions{Dir: data}); err != nil {
		return err
	}
	if l.tls, err = rig.NewServer(ctx, rig.ServerOptions{Dir: data, TLS: true}); err != nil {
		return err
	}
	if l.proxy, err = proxy.New(l.plain.Endpoint, ""); err != nil {
		return err
	}
	l.proxy.SetShape(l.opts.far)
	return l.plain.CreateBucket(ctx, bucket)
}

// close ends the servers and removes all files.
func (l *bench) close() error {
	var errs []error
	if l.proxy != nil {
		errs = append(errs, l.proxy.Close())
	}
	for _, s := range []*rig.Server{l.plain, l.tls} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	for _, dir := range []string{l.scratch, l.disk} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// env is what a client of the store needs in its environment.
func (l *bench) env(where store) []string {
	switch where {
	case overTLS:
		return l.tls.Env()
	case distant:
		return append(l.plain.Env(), "AWS_ENDPOINT_URL="+l.proxy.Endpoint)
	default:
		return l.plain.Env()
	}
}

// counted is what do, which sends its requests to the distant store, asks for,
// as the proxy counts it.
func (l *bench) counted(do func() (outcome, error)) (outcome, error) {
	l.proxy.ResetStats()
	o, err := do()
	o.traffic = l.proxyTraffic()
	return o, err
}

// proxyTraffic is what the proxy has counted since its counters were reset.
func (l *bench) proxyTraffic() lab.Traffic {
	s := l.proxy.Stats()
	return lab.Traffic{
		GETs: s.Requests["GET"], LISTs: s.Requests["LIST"], HEADs: s.Requests["HEAD"], Bytes: s.Bytes["GET"],
	}
}

// requestsOf counts what do asks for in a run of its own, which is not timed:
// through the proxy as a wire, for a load that is timed without it.
func (l *bench) requestsOf(do func() (outcome, error)) (lab.Traffic, error) {
	l.proxy.SetShape(proxy.Shape{})
	defer l.proxy.SetShape(l.opts.far)
	o, err := l.counted(do)
	if err != nil {
		return lab.Traffic{}, fmt.Errorf("count the requests: %w", err)
	}
	return o.traffic, nil
}
