package model

import (
	"errors"
	"math"
	"slices"
)

// Point is a fleet that was measured.
type Point struct {
	Fleet Fleet
	// Last is when its last node had everything, in seconds.
	Last float64
}

// seeds is how many orders and divisions Usual looks at.
const seeds = 9

// Usual is when the last node has everything, in seconds: the median over owners and
// orders that differ.
func (f Fleet) Usual() float64 {
	var last [seeds]float64
	for i := range last {
		f.Seed = uint64(i)
		last[i] = f.Run().Last
	}
	slices.Sort(last[:])
	return last[seeds/2]
}

// Calibration is what measured fleets say of the machines: a simulation begins with
// Start, and a link carries a share of what it is set to.
type Calibration struct {
	// Start is how long a node takes to ask for the first block, in seconds.
	Start float64
	// Store and Link are the shares, of the store's link and of the others, that
	// arrive as content.
	Store, Link float64
}

// Apply is the fleet on such machines.
func (c Calibration) Apply(f Fleet) Fleet {
	f.Start, f.Store, f.Link = c.Start, f.Store*c.Store, f.Link*c.Link
	return f
}

// FitDirect finds Start and Store by fleets without a cache, whose last node is done
// after Start and Nodes x Size / (Store x its rate): the least squares of relative
// errors. It needs two numbers of nodes. Link is the same as Store.
func FitDirect(points []Point) (Calibration, error) {
	var w, wx, wy, wxx, wxy float64
	for _, p := range points {
		x, y := float64(p.Fleet.Nodes)*float64(p.Fleet.Size)/p.Fleet.Store, p.Last
		weight := 1 / (y * y)
		w, wx, wy, wxx, wxy = w+weight, wx+weight*x, wy+weight*y, wxx+weight*x*x, wxy+weight*x*y
	}
	spread := w*wxx - wx*wx
	if !(spread > 1e-9*w*wxx) {
		return Calibration{}, errors.New("calibrate: fleets of two sizes without a cache are needed")
	}
	slope := (w*wxy - wx*wy) / spread
	start := (wy - slope*wx) / w
	if start < 0 {
		start, slope = 0, wxy/wxx
	}
	return Calibration{Start: start, Store: 1 / slope, Link: 1 / slope}, nil
}

// FitLink finds Link by fleets with a cache: of the shares from a tenth up to 1 the one
// with the least squares of relative errors, by simulations.
func (c Calibration) FitLink(points []Point) Calibration {
	best, least := c, math.Inf(1)
	for share := 0.1; share < 1.01; share += 0.02 {
		c.Link = share
		sum := 0.0
		for _, p := range points {
			off := math.Log(c.Apply(p.Fleet).Usual() / p.Last)
			sum += off * off
		}
		if sum < least {
			best, least = c, sum
		}
	}
	return best
}
