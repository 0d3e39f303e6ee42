package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"weightfs/tests/bench/figure"
	"weightfs/tests/proxy"
)

// line is one line of the table: a peer, a reader and a store, cold or warm.
type line struct {
	Store  string `json:"store"`
	Peer   string `json:"peer"`
	Reader string `json:"reader"`
	State  string `json:"state"`
	// Seconds, Rates and Lines, the plain client's rates in bytes per second, are
	// the samples.
	Seconds []float64 `json:"seconds"`
	Rates   []float64 `json:"rates"`
	Lines   []float64 `json:"line_rates"`
	// Line is the median of the line rates of all lines of the store: one rate is
	// taken before each sample, and they lie too far apart to divide by a few.
	Line float64 `json:"line_rate"`
	// Fetched and Requests were asked of the store in one sample; Memory is the
	// largest resident set of all, in bytes, and Cache the most that the peer's
	// files held.
	Fetched  int64 `json:"fetched_bytes"`
	Requests int64 `json:"requests"`
	Memory   int64 `json:"peak_memory_bytes"`
	Cache    int64 `json:"peak_cache_bytes"`
	// Failure says why there are no samples, or no more.
	Failure string `json:"failure,omitempty"`
}

// The states of a sample.
const (
	cold = "cold"
	warm = "warm"
)

func (l line) ratio() float64 { return figure.Median(l.Rates) / l.Line }

// add notes a sample.
func (l *line) add(r result, size int64, lineRate float64) {
	l.Seconds = append(l.Seconds, r.seconds)
	l.Rates = append(l.Rates, float64(size)/r.seconds)
	l.Lines = append(l.Lines, lineRate)
	l.Memory = max(l.Memory, r.memory)
	l.Cache = max(l.Cache, r.cache)
}

// results are all lines, and what the table says of the peers.
type results struct {
	lines []*line
	peers []described
	// unusable are peers that cannot be measured, and why.
	unusable map[string]error
	lab      *lab
}

// described is a peer with its version and flags.
type described struct{ Name, Version, Flags string }

// measureAll measures every row that was chosen.
func (l *lab) measureAll(ctx context.Context) *results {
	all := &results{lab: l, unusable: map[string]error{}}
	for _, p := range mounters() {
		all.describe(ctx, p.name, p.flags, p.version)
	}
	for _, c := range loaders() {
		all.describe(ctx, c.name, c.flags, c.version)
	}
	for _, s := range stores() {
		l.proxy.SetShape(s.shape)
		for _, r := range readers() {
			for _, p := range mounters() {
				if p.measuredBy(s, r) {
					all.row(ctx, s, p.name, r.name, func(cold, warm *line, counted bool) error {
						return l.sampleMount(ctx, s, p, r, cold, warm, counted)
					})
				}
			}
		}
		for _, c := range loaders() {
			all.row(ctx, s, c.name, "", func(cold, warm *line, counted bool) error {
				return l.sampleLoader(ctx, s, c, cold, warm, counted)
			})
		}
	}
	all.divide()
	return all
}

// divide gives each line the median line rate of its store.
func (all *results) divide() {
	rates := map[string][]float64{}
	for _, l := range all.lines {
		rates[l.Store] = append(rates[l.Store], l.Lines...)
	}
	for _, l := range all.lines {
		if len(rates[l.Store]) > 0 {
			l.Line = figure.Median(rates[l.Store])
		}
	}
}

// measuredBy says whether what the peer mounts is read so. A local file has no
// store, and there is no more than one way to it.
func (p mounter) measuredBy(s store, r reader) bool {
	switch {
	case p.command == nil:
		return r.pattern && s.shape == (proxy.Shape{})
	case r.only:
		return p.name == weightfs
	default:
		return true
	}
}

// describe notes a peer that has a version, and whether it can be measured.
func (all *results) describe(ctx context.Context, name, flags string, version func(context.Context, *lab) (string, error)) {
	if version == nil {
		return
	}
	found, err := version(ctx, all.lab)
	if err != nil {
		all.unusable[name] = err
		found = "not measured: " + err.Error()
	}
	all.peers = append(all.peers, described{name, found, flags})
}

// row takes the samples of one row, if it was chosen: a counted one, whose time
// is thrown away, and as many as the flag says.
func (all *results) row(ctx context.Context, s store, peer, reader string, sample func(cold, warm *line, counted bool) error) {
	if !all.lab.opts.pattern.MatchString(fmt.Sprintf("%s: %s: %s", s.name, peer, reader)) || ctx.Err() != nil {
		return
	}
	lines := []*line{{Store: s.name, Peer: peer, Reader: reader, State: cold}, {Store: s.name, Peer: peer, Reader: reader, State: warm}}
	err := all.unusable[peer]
	for i := 0; i <= all.lab.opts.runs && err == nil; i++ {
		err = sample(lines[0], lines[1], i == 0)
	}
	if err != nil {
		lines[0].Failure = err.Error()
	}
	for _, l := range lines {
		if len(l.Rates) > 0 || l.Failure != "" {
			fmt.Println(l)
			all.lines = append(all.lines, l)
		}
	}
}

// heat reads a local file twice through the page cache: the second use of a page
// costs many times the later ones, and clients that read by O_DIRECT are none.
func heat(path string) error {
	for range 2 {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, make([]byte, 1<<20))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sampleMount mounts anew and reads twice.
func (l *lab) sampleMount(ctx context.Context, s store, p mounter, r reader, cold, warm *line, counted bool) (err error) {
	rate, err := l.lineRate(ctx, s)
	if err != nil {
		return err
	}
	m, err := l.mount(ctx, p, l.endpoint(s, counted))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	lines := []*line{cold, warm}
	if p.command == nil {
		if err := errors.Join(l.cool(ctx, !counted), heat(l.copied)); err != nil {
			return err
		}
		lines = lines[1:] // cold is the disk's affair
	}
	for _, into := range lines {
		if err := l.sampleRead(ctx, m, r, into, rate, counted); err != nil {
			return fmt.Errorf("read %s: %w", into.State, err)
		}
	}
	return nil
}

// sampleRead reads a mounted object once.
func (l *lab) sampleRead(ctx context.Context, m *mount, r reader, into *line, rate float64, counted bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opts.limit, fmt.Errorf("not done within %v", l.opts.limit))
	defer cancel()
	if into.State == cold {
		if err := l.cool(ctx, !counted); err != nil {
			return err
		}
	}
	l.proxy.ResetStats()
	cache := m.watchCache(ctx)
	seconds, err := r.read(ctx, l, m.object)
	cached := cache()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	if counted {
		into.count(l)
		return nil
	}
	memory, err := m.peak()
	if err != nil {
		return err
	}
	into.add(result{seconds: seconds, memory: memory, cache: cached}, l.size, rate)
	return nil
}

// sampleLoader loads from the store once, and then, where a load leaves a copy,
// that copy.
func (l *lab) sampleLoader(ctx context.Context, s store, c client, cold, warm *line, counted bool) error {
	rate, err := l.lineRate(ctx, s)
	if err != nil {
		return err
	}
	if err := l.cool(ctx, !counted); err != nil {
		return err
	}
	uri := "s3://" + bucket + "/" + l.key
	if err := l.sampleLoad(ctx, c, uri, l.endpoint(s, counted), cold, rate, counted); err != nil || c.again == nil {
		return err
	}
	copied := filepath.Join(l.local, "copied")
	defer os.Remove(copied)
	if err := errors.Join(l.cool(ctx, !counted), copyFile(copied, l.copied), heat(copied)); err != nil {
		return err
	}
	return l.sampleLoad(ctx, *c.again, copied, "", warm, rate, counted)
}

// sampleLoad has a client load once.
func (l *lab) sampleLoad(ctx context.Context, c client, source, endpoint string, into *line, rate float64, counted bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opts.limit, fmt.Errorf("not done within %v", l.opts.limit))
	defer cancel()
	l.proxy.ResetStats()
	r, err := l.load(ctx, c, source, endpoint)
	if err != nil {
		return fmt.Errorf("load %s: %w", into.State, err)
	}
	if counted {
		into.count(l)
		return nil
	}
	into.add(r, l.size, rate)
	return nil
}

// copyFile writes a copy of a file.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// count notes what the proxy has seen since it was reset.
func (l *line) count(lab *lab) {
	stats := lab.proxy.Stats()
	for _, n := range stats.Requests {
		l.Requests += n
	}
	l.Fetched = stats.Bytes["GET"]
}
