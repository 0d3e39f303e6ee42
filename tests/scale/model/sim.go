package model

import "math"

// sim is a simulation under way.
type sim struct {
	Fleet
	now    float64
	pushed int64 // events so far
	events queue[event]

	store    link
	nodes    []node
	machines []machine // of the cache
	blocks   []block   // of the cache
	asked    float64   // of the store, in bytes
}

// machine is the link of one.
type machine struct{ up, down *link }

// block is what the cache has of one.
type block struct {
	state   state
	waiting []waiter // while it is fetched
}

type state uint8

const (
	absent state = iota
	fetching
	present
)

// waiter is a node's request that has been at the owner since then.
type waiter struct {
	node  int32
	since float64
}

// event is something that happens to a node's request for a block.
type event struct {
	at    float64 // in seconds
	order int64   // of those at the same time the one that was pushed first is first
	kind  kind
	hop   int8
	node  int32
	block int32
	// last is when the last byte is there of what is under way.
	last float64
}

type kind uint8

const (
	begin   kind = iota // the node begins to read
	arrive              // the request is at the owner, or at the store where there is no cache
	fetch               // the first byte is before a link on its way from the store to the owner
	fetched             // the owner has the block
	send                // the first byte is before a link on its way to the node
	got                 // the node has the block
)

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}

func newSim(f Fleet) *sim {
	s := &sim{Fleet: f, store: link{rate: f.Store}, nodes: make([]node, f.Nodes), blocks: make([]block, f.count())}
	for i := range s.nodes {
		s.nodes[i] = newNode(f, uint64(i))
		s.push(event{at: f.Start, kind: begin, node: int32(i)})
	}
	for i := range f.instances() {
		m := machine{&link{rate: f.Link}, &link{rate: f.Link}}
		if f.OnNodes {
			m = machine{&s.nodes[i].up, &s.nodes[i].down}
		}
		s.machines = append(s.machines, m)
	}
	return s
}

func (s *sim) push(e event) {
	s.pushed++
	e.order = s.pushed
	s.events.push(e)
}

// step has an event happen.
func (s *sim) step(e event) {
	switch e.kind {
	case begin:
		s.ask(e.node)
	case arrive:
		s.arrive(e)
	case fetch:
		s.fetch(e)
	case fetched:
		b := &s.blocks[e.block]
		b.state = present
		for _, w := range b.waiting {
			s.serve(w.node, e.block, w.since+s.polls(e.at-w.since))
		}
		b.waiting = nil
	case send:
		s.send(e)
	case got:
		n := &s.nodes[e.node]
		n.take(e.block, e.at)
		s.ask(e.node)
	}
}

// ask has a node ask for as many blocks as it may.
func (s *sim) ask(i int32) {
	n := &s.nodes[i]
	for n.flying < s.Window {
		b, ok := n.pick()
		if !ok {
			return
		}
		delay := s.StoreDelay
		if via, owner := s.route(i, b); s.cached() {
			delay = 0
			if !s.OnNodes {
				delay += s.Delay
			}
			if via != owner {
				delay += s.Delay
			}
		}
		s.push(event{at: s.now + delay, kind: arrive, node: i, block: b})
	}
}

// arrive has a request meet what there is.
func (s *sim) arrive(e event) {
	if !s.cached() {
		s.asked += s.bytes(e.block)
		s.push(event{at: e.at, kind: send, node: e.node, block: e.block, last: e.at})
		return
	}
	b := &s.blocks[e.block]
	switch b.state {
	case absent:
		b.state = fetching
		s.asked += s.bytes(e.block)
		at := e.at + s.StoreDelay
		s.push(event{at: at, kind: fetch, node: e.node, block: e.block, last: at})
	case fetching:
		b.waiting = append(b.waiting, waiter{e.node, e.at})
	case present:
		s.serve(e.node, e.block, e.at)
	}
}

// fetch puts a block on the next link from the store to its owner. What comes is passed
// on at once to who asked first.
func (s *sim) fetch(e event) {
	_, owner := s.route(e.node, e.block)
	links := [...]*link{&s.store, s.machines[owner].down}
	first, last := links[e.hop].put(e.at, s.bytes(e.block))
	e.at, e.hop, e.last = first, e.hop+1, math.Max(e.last, last)
	if int(e.hop) < len(links) {
		s.push(e)
		return
	}
	s.push(event{at: e.last, kind: fetched, block: e.block})
	s.push(event{at: first, kind: send, node: e.node, block: e.block, last: e.last})
}

// serve has a block that is there leave its owner.
func (s *sim) serve(node, block int32, at float64) {
	s.push(event{at: at, kind: send, node: node, block: block, last: at})
}

// send puts a block on the next link to the node, if there is one more.
func (s *sim) send(e event) {
	links := s.path(e.node, e.block)
	if int(e.hop) == len(links) {
		s.push(event{at: e.last, kind: got, node: e.node, block: e.block})
		return
	}
	first, last := links[e.hop].put(e.at, s.bytes(e.block))
	e.at, e.hop, e.last = first, e.hop+1, math.Max(e.last, last)
	if int(e.hop) == len(links) {
		e.kind, e.at = got, e.last
	}
	s.push(e)
}

// path is the links from the owner, or the store where there is no cache, to the node.
func (s *sim) path(i, block int32) []*link {
	links := make([]*link, 0, 4)
	if !s.cached() {
		return append(links, &s.store, &s.nodes[i].down)
	}
	via, owner := s.route(i, block)
	if via != owner {
		links = append(links, s.machines[owner].up, s.machines[via].down)
	}
	if !s.OnNodes {
		links = append(links, s.machines[via].up, &s.nodes[i].down)
	}
	return links
}

// route is the instance that a node asks for a block, and the one that the block
// belongs to.
func (s *sim) route(i, block int32) (via, owner int) {
	n := uint64(len(s.machines))
	if n == 0 {
		return 0, 0
	}
	owner = int(mix(s.Seed+1, uint64(block)) % n)
	if s.OnNodes {
		return int(i), owner
	}
	return int(mix(s.Seed+2, uint64(block)/group) % n), owner
}

// polls is how long somebody waits who looks every Poll for what takes so long.
func (s *sim) polls(wait float64) float64 {
	if s.Poll == 0 {
		return wait
	}
	return math.Ceil(wait/s.Poll) * s.Poll
}

func (s *sim) outcome() Outcome {
	o := Outcome{First: math.Inf(1), Asked: int64(s.asked)}
	for i := range s.nodes {
		o.First, o.Last = math.Min(o.First, s.nodes[i].done), math.Max(o.Last, s.nodes[i].done)
	}
	for _, m := range s.machines {
		o.Sent = max(o.Sent, int64(m.up.sent))
	}
	return o
}
