package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"weightfs/tests/lab"
)

// sample is one fleet that has read the object.
type sample struct {
	Cache string `json:"cache"` // where it is, as placement says
	Nodes int    `json:"nodes"`
	// Seconds are from the start of all readers to the end of each, ascending.
	Seconds []float64 `json:"seconds"`
	// Bytes is how many the store has sent, Requests by how many GETs.
	Bytes    int64 `json:"bytes"`
	Requests int64 `json:"requests"`
	// Past is how many of the bytes nodes have asked for themselves, past a cache that
	// did not answer in time: their requests are signed by a header.
	Past int64 `json:"past"`
	// Idle is the share of this machine's processor time that nobody used meanwhile.
	Idle float64 `json:"idle"`
	// Warnings are what the mountds logged of what went wrong.
	Warnings []string `json:"warnings"`
}

// last is when the last node was done, in seconds.
func (s sample) last() float64 { return s.Seconds[len(s.Seconds)-1] }

// asked is how many times an object of that size the store was asked for.
func (s sample) asked(size int64) float64 { return float64(s.Bytes) / float64(size) }

// measureAll takes all samples, those of the chosen rows.
func (s *scene) measureAll(ctx context.Context) (*results, error) {
	all := &results{Machine: lab.Machine(s.Began), Size: s.size, StoreRate: int64(s.opts.storeRate), NodeRate: int64(s.opts.nodeRate)}
	for _, p := range placements() {
		if !s.opts.Rows.MatchString(string(p)) {
			continue
		}
		for _, n := range s.opts.nodes {
			for range s.opts.Runs {
				got, err := lab.Within(ctx, sampleLimit, func(ctx context.Context) (sample, error) { return s.measure(ctx, p, n) })
				if err != nil {
					return nil, fmt.Errorf("%s, %d nodes: %w", p, n, err)
				}
				fmt.Printf("%-24s %3d nodes: last %6.2f s, first %6.2f s, asked %.3f objects by %d GETs, idle %.0f%%, %d warnings\n",
					p, n, got.last(), got.Seconds[0], got.asked(s.size), got.Requests, 100*got.Idle, len(got.Warnings))
				all.Samples = append(all.Samples, got)
			}
		}
	}
	return all, nil
}

// measure has n new nodes read the object at the same time, through an empty cache.
func (s *scene) measure(ctx context.Context, p placement, n int) (_ sample, err error) {
	cache, err := s.startCache(ctx, p, n)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	mounts, err := s.mountAll(ctx, n, cache.flags())
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, unmountAll(mounts)) }()
	got := sample{Cache: string(p), Nodes: n, Seconds: make([]float64, n)}
	s.store.ResetStats()
	before, err := lab.Processors()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	readers, ctx := errgroup.WithContext(ctx)
	for i, m := range mounts {
		readers.Go(func() error {
			size, digest, err := sum(ctx, filepath.Join(m.Dir, object))
			got.Seconds[i] = time.Since(began).Seconds()
			if err == nil && (size != s.size || digest != s.digest) {
				err = fmt.Errorf("node %d read %d bytes of digest %s, not %d of %s", i, size, digest, s.size, s.digest)
			}
			return err
		})
	}
	if err := readers.Wait(); err != nil {
		return sample{}, errors.Join(err, fmt.Errorf("the mounts logged %q", warnings(mounts)))
	}
	after, err := lab.Processors()
	if err != nil {
		return sample{}, err
	}
	slices.Sort(got.Seconds)
	stats := s.store.Stats()
	for _, r := range s.store.Log() {
		if r.Op == "GET" && r.AccessKey != "" && p != nowhere {
			got.Past += r.Bytes
		}
	}
	got.Bytes, got.Requests, got.Idle, got.Warnings = stats.Bytes["GET"], stats.Requests["GET"], after.IdleSince(before), warnings(mounts)
	return got, nil
}
