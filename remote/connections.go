package remote

import (
	"math"
	"time"
)

const (
	// ManyConnections is how many connections a load should keep busy while
	// nothing is known of the store, or each carries little.
	ManyConnections = 16
	// FewConnections is the same where each carries much.
	FewConnections = 4
	// fastLine is what those that are kept busy should carry together, in bytes
	// per second.
	fastLine = 1.25e9
	// tellingGet is the least size of a GET whose rate says something, in bytes.
	tellingGet = 1 << 20
)

// Connections is what is known of the connections to a store, in bytes per
// second; 0 is not known. A connection to a distant store carries 35 to 90 MB/s,
// one within the same rack some hundreds. Pure. Not safe for concurrent use.
type Connections struct {
	// Best is what one carried, with the wait for its first byte.
	Best float64
	// Total is what all of them carried together of late.
	Total float64
}

// Fetched notes a GET that brought n bytes in this time.
func (c *Connections) Fetched(n int64, took time.Duration) {
	if n >= tellingGet && took > 0 {
		c.Best = max(c.Best, float64(n)/took.Seconds())
	}
}

// Carried notes what all GETs together brought in a time in which there was
// always one: 0 if it is not known. One cannot carry more than all.
func (c *Connections) Carried(total float64) {
	if total > 0 {
		c.Total, c.Best = total, min(c.Best, total)
	}
}

// Busy is how many connections should be kept busy, from FewConnections to
// ManyConnections. Each more costs the store and us a request's work; each less,
// what a connection carries.
func (c Connections) Busy() int {
	if c.Best == 0 {
		return ManyConnections
	}
	return int(min(ManyConnections, max(FewConnections, math.Ceil(fastLine/c.Best))))
}

// PartFactor is by how much the parts of few connections should be larger than
// those of ManyConnections, to have as much under way: a power of two.
func (c Connections) PartFactor() int64 {
	factor := int64(1)
	for n := c.Busy(); n*2 <= ManyConnections; n *= 2 {
		factor *= 2
	}
	return factor
}
