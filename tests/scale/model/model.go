// Package model simulates a fleet of nodes that all read one object at the same time,
// in virtual time: how long until the last has it, and what is asked of the store. It
// does in seconds what would take a thousand machines.
//
// The object is divided into blocks. A node has a window of blocks that it has asked
// for and not got, and picks the next one as mountd does behind a shared cache: the
// first that it lacks if nobody has asked for that, or else one of the next few by an
// order of its own. Without a cache it asks the store. With one, each block belongs to
// an instance, by a hash; the first request has that instance fetch the block, and all
// others wait for it there.
//
// What is assumed:
//   - A machine has one link, full duplex, that carries a rate in each direction; the
//     switch between them carries everything. A link sends blocks one after the other,
//     in the order in which they were asked for, where TCP would share it among them:
//     the last node is done at the same time, the others are done sooner.
//   - A block passes through an instance as it comes (it is not stored first), and so it
//     does through the instance that a node asks on its way to the owner.
//   - Whoever waits for a block that is being fetched looks every Poll, as nginx does.
//   - Nothing fails, all nodes start together, and nobody has any of the object.
//   - Processors, memory and disks are as fast as the links. What a node reads of its
//     cache instance on the same machine passes no link.
//
// sim.go has the events, node.go the order in which a node asks, and fit.go what is
// calibrated by measured fleets.
package model

import "math"

// Block is what a shared cache keeps and fetches, in bytes.
const Block = 8 << 20

// group is how many blocks in a row a node asks the same instance for.
const group = 4

// Fleet is what is simulated. All rates are above 0.
type Fleet struct {
	// Nodes is how many there are.
	Nodes int
	// Size is that of the object in bytes.
	Size int64
	// Store and Link are the rates of the store's link and of each other one, in bytes
	// of content per second.
	Store, Link float64
	// Instances is how many instances the cache has on machines of their own; a node
	// asks the one that a hash of some blocks in a row names. 0 is none.
	Instances int
	// OnNodes says that there is one on each node in place of those, which asks its own.
	OnNodes bool
	// Window is how many blocks a node has asked for and not got, at most.
	Window int
	// Spread is among how many blocks, from the first that it lacks on, a node picks.
	Spread int
	// Start is how long a node takes to ask for the first block, in seconds.
	Start float64
	// StoreDelay and Delay are how long a request to the store and one to another
	// machine take to the first byte, in seconds.
	StoreDelay, Delay float64
	// Poll is how often a request looks that waits for another to fetch its block, in
	// seconds; 0 is that it is told.
	Poll float64
	// Seed makes other orders and other owners.
	Seed uint64
}

// Outcome is what became of a fleet.
type Outcome struct {
	// First and Last are when the first and the last node had everything, in seconds.
	First, Last float64
	// Asked is how many bytes the store was asked for.
	Asked int64
	// Sent is what the busiest instance has sent over its link, in bytes.
	Sent int64
}

// Run simulates the fleet. The same fleet has the same outcome.
func (f Fleet) Run() Outcome {
	s := newSim(f)
	for len(s.events) > 0 {
		e := s.events.pop()
		s.now = e.at
		s.step(e)
	}
	return s.outcome()
}

// count is how many blocks the object has.
func (f Fleet) count() int { return int((f.Size + Block - 1) / Block) }

// cached says that there is a cache.
func (f Fleet) cached() bool { return f.instances() > 0 }

// instances is how many the cache has.
func (f Fleet) instances() int {
	if f.OnNodes {
		return f.Nodes
	}
	return f.Instances
}

// bytes is the length of a block.
func (f Fleet) bytes(block int32) float64 {
	return float64(min(Block, f.Size-int64(block)*Block))
}

// link is one direction of a machine's link.
type link struct {
	rate float64 // bytes per second
	free float64 // when all that was put on it has been sent
	sent float64 // bytes
}

// put puts bytes on the link that are there from the time at on, and returns when the
// first of them is sent and when the last is.
func (l *link) put(at, bytes float64) (first, last float64) {
	first = math.Max(at, l.free)
	l.free = first + bytes/l.rate
	l.sent += bytes
	return first, l.free
}

// mix is splitmix64 of a pair.
func mix(seed uint64, n uint64) uint64 {
	x := seed + (n+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
