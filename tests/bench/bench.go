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
	round    uint64       // of the row, from 1
	sweeps   []*lab.Sweep
	scratch  string // on tmpfs: the servers' files
	disk     string // local files
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
	uneven  // the same with a tail
	folder  // a local folder
)

// String is the store's name in the tables.
func (s store) String() string {
	return [...]string{"loopback", "TLS", "S3-like", "S3-like, tail", "local folder"}[s]
}

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
	if l.proxy, err = proxy.New(l.plain.Endpoint); err != nil {
		return err
	}
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

// reach makes a store what it should be, and returns what a client of it needs in
// its environment.
func (l *bench) reach(where store) []string {
	switch where {
	case overTLS:
		return l.tls.Env()
	case distant, uneven:
		shape := l.opts.far
		if where == uneven {
			shape.Tail = proxy.S3LikeTail().Tail
			shape.Tail.Seed = l.round
		}
		return l.through(shape)
	default:
		return l.plain.Env()
	}
}

// through is the environment of a client of the proxy, which takes a shape.
func (l *bench) through(shape proxy.Shape) []string {
	l.proxy.SetShape(shape)
	l.proxy.ResetStats()
	return append(l.plain.Env(), "AWS_ENDPOINT_URL="+l.proxy.Endpoint)
}

// proxyTraffic is what the proxy has counted since its counters were reset.
func (l *bench) proxyTraffic() lab.Traffic {
	s := l.proxy.Stats()
	return lab.Traffic{
		GETs: s.Requests["GET"], LISTs: s.Requests["LIST"], HEADs: s.Requests["HEAD"], Bytes: s.Bytes["GET"],
	}
}

// swept is a baseline in several settings.
type swept struct {
	name     string
	settings []string
	sample   func(setting int) sample
	// trial, if set, is a shorter sample to sweep by.
	trial func(setting int) sample
	// score is what the best setting has most of.
	score func(outcome) float64
	unit  lab.Unit
	runs  int
}

// bestOf is the baseline in its best setting, which the first sample finds out.
func bestOf(s swept) sample {
	return func(ctx context.Context, l *bench) (outcome, error) {
		i, err := l.best(ctx, s)
		if err != nil {
			return outcome{}, err
		}
		return s.sample(i)(ctx, l)
	}
}

// best is the best setting of a baseline, which is swept the first time.
func (l *bench) best(ctx context.Context, s swept) (int, error) {
	for _, taken := range l.sweeps {
		if taken.Name == s.name {
			best, _ := taken.Best()
			return best, nil
		}
	}
	trial := s.sample
	if s.trial != nil {
		trial = s.trial
	}
	if err := l.touchNow(ctx); err != nil {
		return 0, err
	}
	taken := &lab.Sweep{Name: s.name, Settings: s.settings, Unit: s.unit}
	err := taken.Take(ctx, s.runs, func(ctx context.Context, i int) (float64, error) {
		o, err := trial(i)(ctx, l)
		return s.score(o), err
	})
	if err != nil {
		return 0, err
	}
	l.sweeps = append(l.sweeps, taken)
	best, median := taken.Best()
	fmt.Printf("best %s: %s, %s\n", s.name, s.settings[best], s.unit.Format(median))
	return best, nil
}
