package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// bucket holds a folder for each dataset.
const bucket = "bench"

// bench is what the samples share. It is used by one goroutine.
type bench struct {
	*lab.Stage
	opts     options
	barefuse string
	tls      *rig.Server // over the same files
	round    uint64      // of the row, from 1
	sweeps   []*lab.Sweep
	stored   map[string]files
	copied   map[string]files
	memory   []lab.Series
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
	l := &bench{opts: o, stored: map[string]files{}, copied: map[string]files{}}
	if l.Stage, err = lab.NewStage(ctx, "bench", bucket); err != nil {
		return nil, err
	}
	l.barefuse = filepath.Join(l.Disk, "barefuse")
	if _, err = rig.Output(ctx, nil, "go", "-C", l.Root, "build", "-o", l.barefuse, "./tests/cmd/barefuse"); err == nil {
		l.tls, err = rig.NewServer(ctx, rig.ServerOptions{Dir: l.Server.Dir, TLS: true})
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// close ends the servers and removes all files.
func (l *bench) close() error { return errors.Join(l.tls.Close(), l.Close()) }

// touch is more memory than a sample of one object takes in its own time, of the
// page cache or for tensors, to be touched and freed before it.
func (l *bench) touch() *workload.Touch {
	return &workload.Touch{Bytes: 2 * int64(l.opts.Size)}
}

// touchNow touches and frees it, for a sample that work does not take: one that
// needs what is in the page cache, of which the touching makes the kernel reclaim
// some, or that cannot wait.
func (l *bench) touchNow(ctx context.Context) error {
	_, err := workload.Run(ctx, workload.Options{}, l.touch())
	return err
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
		return l.Server.Env()
	}
}

// through is the environment of a client of the proxy, which takes a shape.
func (l *bench) through(shape proxy.Shape) []string {
	l.Proxy.SetShape(shape)
	l.Proxy.ResetStats()
	return append(l.Server.Env(), "AWS_ENDPOINT_URL="+l.Proxy.Endpoint)
}

// proxyTraffic is what the proxy has counted since its counters were reset.
func (l *bench) proxyTraffic() lab.Traffic {
	s := l.Proxy.Stats()
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
	fmt.Println(taken)
	best, _ := taken.Best()
	return best, nil
}
