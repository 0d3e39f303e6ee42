package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// mountSpec says what to mount, and how.
type mountSpec struct {
	where store
	flags []string // of mountd
	// readAhead, if not 0, is put in the place of what mountd tells the kernel,
	// in bytes.
	readAhead int64
	// cgroup, if set, is where mountd runs.
	cgroup *rig.Cgroup
	// hasty has readers begin while mountd still touches the memory of its cache.
	hasty bool
}

// mount is a running mountd and where its requests are counted.
type mount struct {
	*rig.Mount
	bench *bench
	where store
}

// mount starts a mountd. The caller closes it.
func (l *bench) mount(ctx context.Context, spec mountSpec) (*mount, error) {
	source := "s3://" + bucket
	if spec.where == folder {
		source = l.localDir()
	}
	m, err := l.Mount(ctx, rig.MountOptions{
		Source: source, Args: spec.flags, Env: l.reach(spec.where), Cgroup: spec.cgroup,
	})
	if err != nil {
		return nil, err
	}
	if spec.readAhead > 0 {
		if err := setReadAhead(m.Dir, spec.readAhead); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	mounted := &mount{Mount: m, bench: l, where: spec.where}
	if !spec.hasty {
		if err := mounted.awaitMemory(ctx); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	l.Proxy.ResetStats()
	return mounted, nil
}

// withMount does something with a new mount.
func (l *bench) withMount(ctx context.Context, spec mountSpec, do func(*mount) (outcome, error)) (o outcome, err error) {
	m, err := l.mount(ctx, spec)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return do(m)
}

// settled is for how many ticks mountd's memory must not have grown.
const settled = 10

// awaitMemory waits until mountd has touched as much of its cache's memory as it
// does before a read, so that this falls into no sample.
func (m *mount) awaitMemory(ctx context.Context) error {
	last, same := int64(0), 0
	return lab.Poll(ctx, quietLimit, "the memory of mountd grows without a reader", func(context.Context) (bool, error) {
		now, err := rig.PeakRSS(m.PID())
		if same++; now > last {
			last, same = now, 0
		}
		return same == settled, err
	})
}

// setReadAhead sets how far the kernel reads ahead on a mount.
func setReadAhead(dir string, bytes int64) error {
	var info unix.Stat_t
	if err := unix.Stat(dir, &info); err != nil {
		return fmt.Errorf("readahead of %s: %w", dir, err)
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(info.Dev), unix.Minor(info.Dev))
	return os.WriteFile(name, []byte(strconv.FormatInt(bytes>>10, 10)), 0)
}

// status is mountd's own measures by name.
func (m *mount) status(ctx context.Context) (map[string]int64, error) {
	return lab.Measures(ctx, m.bench.Mountd, m.Dir)
}

// quiet waits until no fetch is under way, and returns the measures.
func (m *mount) quiet(ctx context.Context) (status map[string]int64, err error) {
	err = lab.Poll(ctx, quietLimit, "fetches go on without a reader", func(ctx context.Context) (bool, error) {
		status, err = m.status(ctx)
		return status["active_fetches"] == 0, err
	})
	return status, err
}

// quietLimit is how long something may take that no sample contains.
const quietLimit = 10 * time.Second

// traffic is what the mount has asked for since it began: as the proxy counted
// it before a distant store, and mountd otherwise.
func (m *mount) traffic(ctx context.Context) (lab.Traffic, error) {
	status, err := m.quiet(ctx)
	if err != nil {
		return lab.Traffic{}, err
	}
	if m.where == distant || m.where == uneven {
		t := m.bench.proxyTraffic()
		t.READs = status["reads_total"]
		return t, nil
	}
	return lab.Traffic{
		GETs: status["store_gets_total"], LISTs: status["store_lists_total"], HEADs: status["store_heads_total"],
		Bytes: status["store_bytes_total"], READs: status["reads_total"],
	}, nil
}

// count adds the traffic of what do does to its outcome.
func (m *mount) count(ctx context.Context, do func() (outcome, error)) (outcome, error) {
	before, err := m.traffic(ctx)
	if err != nil {
		return outcome{}, err
	}
	o, err := do()
	if err != nil {
		return o, err
	}
	after, err := m.traffic(ctx)
	o.traffic = after.Less(before)
	return o, err
}
