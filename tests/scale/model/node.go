package model

// node is one that reads the object.
type node struct {
	up, down link

	seed       uint64 // of its order; 0 is ascending
	span       int    // how far behind the first block that it lacks it asks
	asked, has []bool // by block
	lacks      int    // the first block that it has not got
	reach      int    // all blocks before are asked for or candidates
	candidates queue[candidate]
	flying     int // blocks that are asked for and not got
	done       float64
}

// candidate is a block that may be asked for next.
type candidate struct {
	rank  uint64
	block int32
}

func (c candidate) before(other candidate) bool { return c.rank < other.rank }

func newNode(f Fleet, number uint64) node {
	n := node{up: link{rate: f.Link}, down: link{rate: f.Link}, span: f.Window,
		asked: make([]bool, f.count()), has: make([]bool, f.count())}
	if f.Spread > 0 {
		n.seed, n.span = mix(f.Seed+3, number), f.Spread
	}
	return n
}

// pick chooses the block that is asked for next, and counts it as asked for; ok is false
// where there is none within reach.
func (n *node) pick() (b int32, ok bool) {
	for end := min(n.lacks+n.span, len(n.asked)); n.reach < end; n.reach++ {
		n.candidates.push(candidate{n.rank(n.reach), int32(n.reach)})
	}
	if n.lacks < len(n.asked) && !n.asked[n.lacks] { // the reader waits for it
		b, ok = int32(n.lacks), true
	}
	for !ok && len(n.candidates) > 0 {
		b = n.candidates.pop().block
		ok = !n.asked[b]
	}
	if ok {
		n.asked[b] = true
		n.flying++
	}
	return b, ok
}

// rank is the place of a block in the node's order.
func (n *node) rank(block int) uint64 {
	if n.seed == 0 {
		return uint64(block)
	}
	return mix(n.seed, uint64(block))
}

// take has the node get a block.
func (n *node) take(b int32, at float64) {
	n.has[b] = true
	n.flying--
	for n.lacks < len(n.has) && n.has[n.lacks] {
		n.lacks++
	}
	if n.lacks == len(n.has) {
		n.done = at
	}
}
