package main

import (
	"runtime"

	"golang.org/x/sync/errgroup"

	"weightfs/tests/scale/model"
)

const (
	// window is how many blocks a mountd asks for at once: few, or each would come at
	// less than mountd takes for a sign of life on links as slow as these.
	window = 4
	// spread is among how many mountd picks the next one behind a shared cache.
	spread = 32
	// poll is how often nginx looks whether the block is there that it waits for, in
	// seconds.
	poll = 0.5
)

// fleet is what the model simulates of n nodes and a cache there.
func (p placement) fleet(n int) model.Fleet {
	f := model.Fleet{Nodes: n, Window: window}
	if p == nowhere {
		return f
	}
	f.Spread, f.Poll, f.OnNodes = spread, poll, p == onEachOne
	if p == onThree {
		f.Instances = apart
	}
	return f
}

// measured is the model of a sample's fleet.
func (all *results) measured(s sample) model.Point {
	f := placement(s.Cache).fleet(s.Nodes)
	f.Size, f.Store, f.Link = all.Size, float64(all.StoreRate), float64(all.NodeRate)
	return model.Point{Fleet: f, Last: s.last()}
}

// calibrate finds what the samples say of this machine. Fleets that read past their
// cache say nothing: nothing fails in the model.
func (all *results) calibrate() (err error) {
	var direct, cached []model.Point
	for _, s := range all.Samples {
		switch {
		case s.Cache == string(nowhere):
			direct = append(direct, all.measured(s))
		case s.Past == 0:
			cached = append(cached, all.measured(s))
		}
	}
	if all.Calibration, err = model.FitDirect(direct); err != nil || len(cached) == 0 {
		return err
	}
	all.Calibration = all.Calibration.FitLink(cached)
	return nil
}

// The large fleets: the model of 8 billion parameters, on links of 100 Gb/s.
const (
	largeSize  = 16 << 30
	largeRate  = 100e9 / 8
	storeDelay = 0.03   // seconds, as S3 has
	hopDelay   = 0.0002 // seconds, within a data centre
)

// largeNodes are the sizes of the large fleets.
func largeNodes() []int { return []int{1, 4, 16, 64, 250, 1000} }

// variant is a kind of large fleet.
type variant struct {
	name string
	placement
	change func(*model.Fleet)
}

// variants are what is simulated; the last ones show what their settings are worth.
func variants() []variant {
	same := func(*model.Fleet) {}
	return []variant{
		{string(nowhere), nowhere, same},
		{string(onThree), onThree, same},
		{string(onEachOne), onEachOne, same},
		{"every node, told at once", onEachOne, func(f *model.Fleet) { f.Poll = 0 }},
		{"every node, 16 at once", onEachOne, func(f *model.Fleet) { f.Window = spread / 2 }},
		{"every node, 16, ascending", onEachOne, func(f *model.Fleet) { f.Window, f.Spread = spread/2, 0 }},
	}
}

// large is a simulated fleet.
type large struct {
	Variant string `json:"variant"`
	Nodes   int    `json:"nodes"`
	model.Outcome
}

// simulate simulates the large fleets, on machines as calibrated.
func (all *results) simulate() {
	all.Large = nil
	var fleets []model.Fleet
	for _, v := range variants() {
		for _, n := range largeNodes() {
			all.Large = append(all.Large, large{Variant: v.name, Nodes: n})
			f := v.fleet(n)
			f.Size, f.Store, f.Link, f.StoreDelay, f.Delay, f.Window = largeSize, largeRate, largeRate, storeDelay, hopDelay, spread
			v.change(&f)
			fleets = append(fleets, all.Calibration.Apply(f))
		}
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range fleets {
		group.Go(func() error {
			all.Large[i].Outcome = f.Run()
			return nil
		})
	}
	_ = group.Wait() // none fails
}

// simulated is how long the model takes for a sample's fleet: the median over owners
// and orders.
func (all *results) simulated(s sample) float64 {
	return all.Calibration.Apply(all.measured(s).Fleet).Usual()
}
