package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"weightfs/tests/lab"
	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// row is what is measured: a program that reads what a peer mounts at a place, or
// a program that needs no mount.
type row struct {
	place   place
	mounter *mounter
	program program
}

// rows are all, in the order of the tables.
func rows() (all []row) {
	for _, p := range places() {
		for _, r := range readers() {
			for _, m := range mounters() {
				all = append(all, row{p, &m, r})
			}
		}
		for _, l := range loaders() {
			all = append(all, row{p, nil, l})
		}
	}
	kept := all[:0]
	for _, r := range all {
		if r.exists() {
			kept = append(kept, r)
		}
	}
	return kept
}

// exists says whether the row would tell anything. A local file has no store, and
// what keeps nothing has no limit.
func (r row) exists() bool {
	switch {
	case r.mounter == nil:
		return !r.place.over
	case r.mounter.command == nil:
		return r.program.pattern && !r.place.over && r.place.shape == (proxy.Shape{})
	case r.program.ours && r.mounter.name != weightfs:
		return false
	default:
		return !r.place.over || r.program.over && r.mounter.over
	}
}

// names are of the peer and of the reader, "" where that is the peer.
func (r row) names() (peer, reader string) {
	if r.mounter == nil {
		return r.program.name, ""
	}
	return r.mounter.name, r.program.name
}

// The states of a load.
const (
	cold = "cold"
	warm = "warm"
)

// line is one line of the table: a row, cold or warm.
type line struct {
	Place  string `json:"place"`
	Peer   string `json:"peer"`
	Reader string `json:"reader"`
	State  string `json:"state"`
	// Way is which of the program's ways was the fastest.
	Way string `json:"way,omitempty"`
	// Seconds are the samples, each of Size bytes, and LineRate the place's.
	Seconds  []float64 `json:"seconds"`
	Size     int64     `json:"size"`
	LineRate float64   `json:"line_rate"`
	// Fetched and Requests were asked of the store in the first load; Memory is
	// the largest resident set of all, in bytes, and Cache the most that the
	// peer's files held.
	Fetched  int64 `json:"fetched_bytes"`
	Requests int64 `json:"requests"`
	Memory   int64 `json:"peak_memory_bytes"`
	Cache    int64 `json:"peak_cache_bytes"`
	// Failure says why there are no samples, or no more.
	Failure string `json:"failure,omitempty"`
}

// rate is in bytes per second.
func (l *line) rate() float64  { return float64(l.Size) / lab.Median(l.Seconds) }
func (l *line) ratio() float64 { return l.rate() / l.LineRate }

// load is one load of the object.
type load struct {
	seconds           float64
	memory, cache     int64 // bytes
	fetched, requests int64
}

// results are all lines, and what the table says of the peers.
type results struct {
	c     *comparison
	lines []*line
	peers [][]string // name, version, flags
	// unusable are peers that cannot be measured, and why.
	unusable map[string]error
	// empty and imports are how long a Python takes that does nothing, and one that
	// only imports, in seconds.
	empty, imports float64
}

// measureAll measures every row that was chosen.
func (c *comparison) measureAll(ctx context.Context) (_ *results, err error) {
	all := &results{c: c, unusable: map[string]error{}}
	for _, m := range mounters() {
		all.describe(ctx, m.name, m.flags, m.version)
	}
	for _, l := range loaders() {
		all.describe(ctx, l.name, "", l.version)
	}
	if all.empty, err = c.pythonStart(ctx, "sys"); err != nil {
		return nil, err
	}
	if all.imports, err = c.pythonStart(ctx, "safetensors.numpy"); err != nil {
		return nil, err
	}
	rates := map[string][]float64{}
	for _, r := range rows() {
		peer, reader := r.names()
		if ctx.Err() != nil || !c.opts.Rows.MatchString(fmt.Sprintf("%s: %s: %s", r.place.name, peer, reader)) {
			continue
		}
		c.Proxy.SetShape(r.place.shape)
		rate, err := c.lineRate(ctx, r.place)
		if err != nil {
			return nil, err
		}
		rates[r.place.name] = append(rates[r.place.name], rate)
		all.add(c.measure(ctx, r, all.unusable[peer]), lab.Median(rates[r.place.name]))
	}
	for _, l := range all.lines {
		l.LineRate = lab.Median(rates[l.Place]) // they lie too far apart to divide by one
	}
	if ctx.Err() == nil && len(all.lines) == 0 {
		err = errors.New("no row of that name")
	}
	return all, errors.Join(err, context.Cause(ctx))
}

// add notes the lines that have something to say.
func (all *results) add(lines []*line, lineRate float64) {
	for _, l := range lines {
		if l.LineRate = lineRate; len(l.Seconds) > 0 || l.Failure != "" {
			fmt.Println(strings.Join(l.cells(all.c.opts.Runs), "  "))
			all.lines = append(all.lines, l)
		}
	}
}

// describe notes a peer that has a version, and whether it can be measured.
func (all *results) describe(ctx context.Context, name, flags string, version func(context.Context, *comparison) (string, error)) {
	if version == nil {
		return
	}
	found, err := version(ctx, all.c)
	if err != nil {
		all.unusable[name] = err
		found = "not measured: " + err.Error()
	}
	all.peers = append(all.peers, []string{name, found, flags})
}

// measure takes the samples of a row, cold and warm.
func (c *comparison) measure(ctx context.Context, r row, err error) []*line {
	began := time.Now()
	peer, reader := r.names()
	lines := map[string]*line{}
	for _, state := range []string{cold, warm} {
		lines[state] = &line{Place: r.place.name, Peer: peer, Reader: reader, State: state, Size: c.size}
	}
	var way string
	var loads map[string]load
	if err == nil {
		way, loads, err = c.choose(ctx, r)
	}
	for state, l := range loads {
		lines[state].Way, lines[state].Fetched, lines[state].Requests = way, l.fetched, l.requests
	}
	for i := 0; i < c.opts.Runs && err == nil && (i == 0 || time.Since(began) < rowLimit); i++ {
		loads, err = c.sample(ctx, r, way, sampleLimit, false)
		for state, l := range loads {
			into := lines[state]
			into.Seconds = append(into.Seconds, l.seconds)
			into.Memory, into.Cache = max(into.Memory, l.memory), max(into.Cache, l.cache)
		}
	}
	if err != nil {
		lines[cold].Failure, _, _ = strings.Cut(err.Error(), "\n")
	}
	return []*line{lines[cold], lines[warm]}
}

// choose takes the first loads of a row, which are checked, in each of the
// program's ways, and returns the fastest. The ways share the time of a sample.
func (c *comparison) choose(ctx context.Context, r row) (way string, loads map[string]load, err error) {
	ways := r.program.ways
	if ways == nil {
		ways = []string{""}
	}
	least := math.Inf(1)
	for _, w := range ways {
		got, failure := c.sample(ctx, r, w, sampleLimit/time.Duration(len(ways)), true)
		if failure == nil && r.mounter != nil && strings.Contains(r.mounter.flags, "CACHE") && got[cold].cache == 0 {
			failure = errors.New("it has left its cache empty")
		}
		if failure != nil {
			err = errors.Join(err, failure)
			continue
		}
		if took := got[cold].seconds + got[warm].seconds; took < least {
			least, way, loads = took, w, got
		}
	}
	if loads != nil {
		return way, loads, nil
	}
	return "", nil, err
}

// sample mounts anew, where there is a mount, and loads cold and then warm.
func (c *comparison) sample(ctx context.Context, r row, way string, limit time.Duration, first bool) (loads map[string]load, err error) {
	endpoint := c.endpoint(r.place, first)
	m, states := &mount{object: "s3://" + bucket + "/" + c.key}, []string{cold}
	if r.mounter != nil {
		if m, err = c.mount(ctx, *r.mounter, r.place.limit(c.size), endpoint); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, m.close()) }()
		states = []string{cold, warm}
	}
	if err := c.cool(ctx, !first); err != nil {
		return nil, err
	}
	if m.object == c.copied { // cold is the disk's affair
		if err := lab.Heat(ctx, 2, c.copied); err != nil {
			return nil, err
		}
		states = []string{warm}
	}
	loads = map[string]load{}
	for _, state := range states {
		loads[state], err = lab.Within(ctx, limit, func(ctx context.Context) (load, error) {
			return c.loadOnce(ctx, r.program, way, m, endpoint, first)
		})
		if err != nil {
			delete(loads, state)
			return loads, fmt.Errorf("%s: %w", state, err)
		}
	}
	return loads, nil
}

// loadOnce loads what is mounted, or what the store has, and measures it.
func (c *comparison) loadOnce(ctx context.Context, p program, way string, m *mount, endpoint string, first bool) (l load, err error) {
	c.Proxy.ResetStats()
	cache := m.watchCache()
	ran, err := c.load(ctx, p, way, m.object, endpoint, first)
	l.seconds, l.memory, l.cache = ran.Seconds, ran.Memory, cache()
	if err != nil {
		return l, err
	}
	stats := c.Proxy.Stats()
	for _, n := range stats.Requests {
		l.requests += n
	}
	l.fetched = stats.Bytes["GET"]
	if m.proc != nil {
		l.memory, err = rig.PeakRSS(rig.Serving(m.proc.PID()))
	}
	return l, err
}
