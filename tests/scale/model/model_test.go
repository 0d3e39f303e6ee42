package model

import (
	"math"
	"testing"
)

// base is a fleet whose numbers are easy: a block takes a second on a link.
func base() Fleet {
	return Fleet{Nodes: 1, Size: 10 * Block, Store: Block, Link: Block, Window: 4}
}

// ownedByFirst is a seed by which the first block of two nodes belongs to the first.
const ownedByFirst = 1

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-6*want }

// What a simulation comes to where it can be counted by hand.
func TestByHand(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(*Fleet)
		first, last float64 // seconds
		asked, sent int64   // blocks
	}{
		"one node":               {func(*Fleet) {}, 10, 10, 10, 0},
		"a short block":          {func(f *Fleet) { f.Size -= Block / 2 }, 9.5, 9.5, 10, 0},
		"a start":                {func(f *Fleet) { f.Start = 3 }, 13, 13, 10, 0},
		"a delay once a window":  {func(f *Fleet) { f.Window, f.StoreDelay = 1, 0.5 }, 15, 15, 10, 0},
		"the node's own link":    {func(f *Fleet) { f.Link /= 2 }, 20, 20, 10, 0},
		"three nodes":            {func(f *Fleet) { f.Nodes, f.Window = 3, 10 }, 10, 30, 30, 0},
		"one instance":           {func(f *Fleet) { f.Instances = 1 }, 10, 10, 10, 10},
		"three nodes behind one": {func(f *Fleet) { f.Nodes, f.Instances, f.Window = 3, 1, 1 }, 0, 30, 10, 30},
		"on the only node":       {func(f *Fleet) { f.OnNodes = true }, 10, 10, 10, 0},
		// A block is there after a second, and who waits looks after two.
		"a wait that is polled": {func(f *Fleet) { f.OnNodes, f.Nodes, f.Size, f.Poll, f.Seed = true, 2, Block, 2, ownedByFirst }, 1, 3, 1, 1},
		"a wait that is told":   {func(f *Fleet) { f.OnNodes, f.Nodes, f.Size, f.Seed = true, 2, Block, ownedByFirst }, 1, 2, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := base()
			c.change(&f)
			got := f.Run()
			if (c.first != 0 && !near(got.First, c.first)) || !near(got.Last, c.last) || (got.Asked+Block-1)/Block != c.asked || got.Sent/Block != c.sent {
				t.Errorf("%+v comes to %+v (asked %d, sent %d blocks), want %+v", f, got, got.Asked/Block, got.Sent/Block, c)
			}
		})
	}
}

// With a cache every byte is asked of the store once, whatever the fleet; without, once
// for each node. No link carries more than it can: nobody is done sooner than that.
func TestConserves(t *testing.T) {
	for n := 1; n <= 24; n++ {
		for seed := range uint64(4) {
			for _, f := range []Fleet{{}, {Instances: 3}, {Instances: 1}, {OnNodes: true}} {
				f.Nodes, f.Size, f.Store, f.Link, f.Window, f.Spread, f.Poll, f.Seed = n, 100*Block+1, 5*Block, 3*Block, 8, 8*int(seed), 0.5, seed
				got := f.Run()
				asked, least := f.Size, float64(f.Size)/math.Min(f.Store, f.Link)
				if !f.cached() {
					asked *= int64(n)
				}
				if f.Instances > 0 {
					least = max(least, float64(f.Size)*float64(n)/f.Link/float64(f.Instances))
				}
				least = max(least, float64(asked)/f.Store)
				if got.Asked != asked || got.Last < least*(1-1e-9) || got.First > got.Last || got != f.Run() {
					t.Fatalf("%+v: %+v, want %d bytes of the store and no less than %v s", f, got, asked, least)
				}
			}
		}
	}
}

// A node asks for every block once, first for what its reader waits for, and for nothing
// out of its reach; and each in an order of its own.
func TestOrder(t *testing.T) {
	f := base()
	f.Size, f.Spread, f.Window = 200*Block, 16, 4
	orders := map[int32]bool{}
	for number := range uint64(8) {
		n := newNode(f, number)
		seen, flying := map[int32]bool{}, []int32{}
		for len(seen) < 200 {
			lacks := n.lacks
			b, ok := n.pick()
			if !ok || len(flying) == f.Window {
				n.take(flying[0], float64(len(seen)))
				flying = flying[1:]
			}
			if !ok {
				continue
			}
			if seen[b] || int(b) >= lacks+16 || int(b) < lacks || (b != int32(lacks) && !n.asked[lacks]) {
				t.Fatalf("node %d picks %d, lacking %d", number, b, lacks)
			}
			if len(seen) == 1 {
				orders[b] = true
			}
			seen[b] = true
			flying = append(flying, b)
		}
		for _, b := range flying {
			n.take(b, 200)
		}
		if _, ok := n.pick(); ok || n.done != 200 {
			t.Errorf("node %d goes on after %v", number, n.done)
		}
	}
	if len(orders) < 3 {
		t.Errorf("all nodes have the same order: %v", orders)
	}
}

// What is calibrated is found again in fleets that were simulated with it.
func TestFit(t *testing.T) {
	truth := Calibration{Start: 1.5, Store: 0.9, Link: 0.7}
	var direct, cached []Point
	for _, n := range []int{1, 2, 4, 8} {
		for _, f := range []Fleet{{}, {Instances: 2}, {OnNodes: true}} {
			f.Nodes, f.Size, f.Store, f.Link, f.Window, f.Spread, f.Poll = n, 40*Block, Block, 2*Block, 4, 8, 0.5
			p := Point{f, truth.Apply(f).Usual()}
			if f.cached() {
				cached = append(cached, p)
			} else {
				direct = append(direct, p)
			}
		}
	}
	got, err := FitDirect(direct)
	if err != nil || math.Abs(got.Start-truth.Start) > 0.1 || math.Abs(got.Store-truth.Store) > 0.01 {
		t.Fatalf("%+v, %v, want %+v", got, err, truth)
	}
	if got = got.FitLink(cached); math.Abs(got.Link-truth.Link) > 0.03 {
		t.Errorf("%+v, want %+v", got, truth)
	}
	if _, err := FitDirect(direct[:1]); err == nil {
		t.Error("one point gives a line")
	}
	early := []Point{{direct[0].Fleet, 39}, {direct[1].Fleet, 81}}
	if got, err := FitDirect(early); err != nil || got.Start != 0 || math.Abs(got.Store-1) > 0.05 {
		t.Errorf("a start below 0: %+v, %v", got, err)
	}
}
