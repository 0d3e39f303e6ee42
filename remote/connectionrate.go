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
	// fastLine is what that many should carry together, in bytes per second.
	fastLine = 1.25e9
	// tellingGet is the least size of a GET whose rate says something, in bytes.
	tellingGet = 1 << 20
)

// ConnectionRate is what one connection to a store carries, in bytes per second,
// the wait for the first byte included: the best that a GET had, but no more
// than all of them had together of late. 0 is not known. A distant store gives
// 35 to 90 MB/s, one of the same rack some hundreds. Pure. Not safe for
// concurrent use.
type ConnectionRate float64

// Fetched notes a GET of n bytes that took this long.
func (r *ConnectionRate) Fetched(n int64, took time.Duration) {
	if n >= tellingGet && took > 0 {
		*r = max(*r, ConnectionRate(float64(n)/took.Seconds()))
	}
}

// Carried notes the rate of all GETs together in a time in which there was
// always one: 0 if it is not known.
func (r *ConnectionRate) Carried(rate float64) {
	if rate > 0 {
		*r = min(*r, ConnectionRate(rate))
	}
}

// Connections is how many connections should be kept busy, ManyConnections at
// most. Each more costs the store and us a request's work; each less, what a
// connection carries.
func (r ConnectionRate) Connections() int {
	if r <= fastLine/ManyConnections {
		return ManyConnections
	}
	return max(FewConnections, int(math.Ceil(float64(fastLine/r))))
}

// PartFactor is by how much the parts of few connections should be larger than
// those of ManyConnections, to have as much under way: a power of two.
func (r ConnectionRate) PartFactor() int64 {
	factor := int64(1)
	for c := r.Connections(); c*2 <= ManyConnections; c *= 2 {
		factor *= 2
	}
	return factor
}
