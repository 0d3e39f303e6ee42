package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"weightfs/cmd/cli"
	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/rig"
)

// What mountd promises of its memory above the limit, and how much more than
// the limit its cgroup has in the memory rows.
const (
	promised       = 128 << 20
	promisedByFile = 1 << 10
	cgroupRoom     = 192 << 20
)

// The readers of a memory row: of each of eight files, half of them sequential.
const (
	mixSequential = 4
	mixRandom     = 4
)

// readersCache is the limit of the readers' own cgroup: little, so that the
// page cache does not hold the files and reads go on reaching the daemon.
const readersCache = 512 << 20

// The names of a memory row's values.
const (
	residentValue   = "resident"
	chargeValue     = "cgroup's charge"
	promiseValue    = "promise"
	sequentialValue = "slowest sequential reader"
	randomValue     = "slowest random reader"
	medianSeqValue  = "median sequential reader"
	medianRandValue = "median random reader"
	leasesValue     = "leases at the end"
)

// pressure has 64 readers on 8 files read for a time, through each of some
// mounts at once. inCgroup bounds each mountd's cgroup to the limit and some.
func pressure(limit int64, mounts int, inCgroup bool) sample {
	return func(ctx context.Context, l *bench) (o outcome, err error) {
		f, err := l.storeOnly(ctx, eight())
		if err != nil {
			return o, err
		}
		cache, err := newGroup("readers", readersCache)
		if err != nil {
			return o, err
		}
		defer func() { err = errors.Join(err, cache.Close()) }()
		room := int64(0)
		if inCgroup {
			room = limit + cgroupRoom
		}
		var watched []*watch
		defer func() {
			for _, w := range watched {
				err = errors.Join(err, w.close())
			}
		}()
		for i := range mounts {
			w, err := l.watch(ctx, fmt.Sprintf("mountd%d", i), limit, room)
			if err != nil {
				return o, err
			}
			watched = append(watched, w)
		}
		return l.press(ctx, watched, f, cache, limit)
	}
}

// newGroup makes a cgroup, with a limit where that is not 0.
func newGroup(name string, limit int64) (*rig.Cgroup, error) {
	group, err := rig.NewCgroup("weightfs-bench-" + name)
	if err != nil || limit == 0 {
		return group, err
	}
	if err := group.SetLimit(limit); err != nil {
		return nil, errors.Join(err, group.Close())
	}
	return group, nil
}

// press runs the readers of all mounts at once, and says what it came to.
func (l *bench) press(ctx context.Context, watched []*watch, f files, cache *rig.Cgroup, limit int64) (outcome, error) {
	var all []workload.Workload
	for i, w := range watched {
		for k, path := range f.in(w.mount.Dir, eight()).paths {
			all = append(all, &workload.Mix{
				Path: path, Sequential: mixSequential, Random: mixRandom, For: l.opts.mix, Seed: uint64(i*100 + k),
			})
		}
	}
	for _, w := range watched {
		w.start()
	}
	reports, err := workload.Run(ctx, workload.Options{Cgroup: cache.Dir(), First: l.touch()}, all...)
	for _, w := range watched {
		err = errors.Join(err, w.stop())
	}
	if err != nil {
		return outcome{}, err
	}
	o := outcome{report: workload.Sum(reports), values: map[string]float64{
		promiseValue: float64(limit + promised + promisedByFile*int64(len(f.names))),
	}}
	for i, w := range watched {
		if err := w.judge(ctx, &o, reports[i*len(f.names):(i+1)*len(f.names)]); err != nil {
			return o, err
		}
		l.memory = append(l.memory, w.series(fmt.Sprintf("limit %s, mount %d of %d", cli.FormatSize(limit), i+1, len(watched))))
	}
	return o, nil
}

// judge adds what one mount and its readers came to: the worst of all mounts.
func (w *watch) judge(ctx context.Context, o *outcome, reports []workload.Report) error {
	var sequential, random []float64
	for _, r := range reports {
		for i, n := range r.Each {
			if i < mixSequential {
				sequential = append(sequential, float64(n))
			} else {
				random = append(random, float64(n))
			}
		}
	}
	keepSlowest(o.values, sequentialValue, medianSeqValue, sequential)
	keepSlowest(o.values, randomValue, medianRandValue, random)
	traffic, err := w.mount.traffic(ctx)
	if err != nil {
		return err
	}
	status, err := w.mount.status(ctx)
	if err != nil {
		return err
	}
	o.traffic = o.traffic.Plus(traffic)
	o.values[leasesValue] += float64(status["cache_leases"])
	resident, charge, err := w.peaks()
	o.values[residentValue] = max(o.values[residentValue], float64(resident))
	o.values[chargeValue] = max(o.values[chargeValue], float64(charge))
	return err
}

// keepSlowest notes the slowest and the median reader, where they are further
// apart than those noted before.
func keepSlowest(values map[string]float64, slowest, median string, bytes []float64) {
	low, middle := slices.Min(bytes), lab.Median(bytes)
	if before, ok := values[slowest]; !ok || low/middle < before/values[median] {
		values[slowest], values[median] = low, middle
	}
}

// watch is a mount whose memory is sampled between start and stop, each of which is
// called once.
type watch struct {
	mount *mount
	group *rig.Cgroup
	end   func()

	// What was seen, once stop has returned.
	seconds, resident []float64
	charge            int64
	err               error
}

// watch mounts, inside a cgroup of its own whose charge is bounded by room
// where that is not 0.
func (l *bench) watch(ctx context.Context, name string, limit, room int64) (*watch, error) {
	group, err := newGroup(name, room)
	if err != nil {
		return nil, err
	}
	m, err := l.mount(ctx, mountSpec{flags: []string{fmt.Sprintf("--memory-limit=%d", limit)}, cgroup: group})
	if err != nil {
		return nil, errors.Join(err, group.Close())
	}
	return &watch{mount: m, group: group}, nil
}

func (w *watch) start() {
	begin := time.Now()
	w.end = lab.Watch(func() {
		resident, err := rig.RSS(w.mount.PID())
		charge, chargeErr := w.group.Charge()
		if w.err = errors.Join(w.err, err, chargeErr); w.err != nil {
			return
		}
		w.seconds = append(w.seconds, time.Since(begin).Seconds())
		w.resident = append(w.resident, float64(resident))
		w.charge = max(w.charge, charge)
	})
}

func (w *watch) stop() error {
	w.end()
	return w.err
}

// peaks are the largest of the samples, or what the kernel saw between them.
func (w *watch) peaks() (resident, charge int64, err error) {
	resident, err = rig.PeakRSS(w.mount.PID())
	if err != nil {
		return 0, 0, err
	}
	charge, err = w.group.Peak()
	return max(resident, int64(slices.Max(w.resident))), max(charge, w.charge), err
}

// series is the resident memory over time, in MiB.
func (w *watch) series(name string) lab.Series {
	s := lab.Series{Name: name, X: w.seconds}
	for _, bytes := range w.resident {
		s.Y = append(s.Y, bytes/mib)
	}
	return s
}

func (w *watch) close() error { return errors.Join(w.mount.Close(), w.group.Close()) }

// refusedValue is 1 where a limit that is too small was refused at start, and
// the limit that the message names was not.
const refusedValue = "refused, and the named limit works"

// tooSmall starts mountd with a limit that cannot work, and then with the one
// that it says would.
func tooSmall(ctx context.Context, l *bench) (outcome, error) {
	args := []string{"--memory-limit=1Mi", "s3://" + bucket, l.Disk}
	res, err := rig.Run(ctx, l.reach(loopback), l.Mountd, args...)
	if err != nil {
		return outcome{}, err
	}
	named := regexp.MustCompile(`\d+([KMG]i?B?)?`).FindAllString(res.Stderr, -1)
	if res.Code == 0 || len(named) == 0 {
		return outcome{}, fmt.Errorf("exit %d: %s", res.Code, res.Stderr)
	}
	m, err := l.mount(ctx, mountSpec{flags: []string{"--memory-limit", named[len(named)-1]}})
	if err != nil {
		return outcome{}, fmt.Errorf("with the limit named in %q: %w", res.Stderr, err)
	}
	return outcome{values: map[string]float64{refusedValue: 1}, uncounted: true}, m.Close()
}
