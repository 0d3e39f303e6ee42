package prefetch

import (
	"math"
	"time"
)

const (
	// manyConnections is how many connections the streams together should keep
	// busy while nothing is known of the store, or each carries little.
	manyConnections = 16
	// fewConnections is the same where each carries much.
	fewConnections = 4
	// fastLine is what the connections of young streams should carry together,
	// in bytes per second.
	fastLine = 1.25e9
	// tellingGet is the least size of a GET whose rate says something, in bytes.
	tellingGet = 1 << 20
)

// connectionRate is what one connection to the store carries, in bytes per
// second, the wait for the first byte included: the best that a GET had, but no
// more than all of them had together of late. 0 is not known. A distant store
// gives 35 to 90 MB/s, one of the same rack some hundreds. Pure. Not safe for
// concurrent use.
type connectionRate float64

// fetched notes a GET of n bytes that took this long.
func (r *connectionRate) fetched(n int64, took time.Duration) {
	if n >= tellingGet && took > 0 {
		*r = max(*r, connectionRate(float64(n)/took.Seconds()))
	}
}

// carried notes the rate of all GETs together in a time in which there was
// always one: 0 if it is not known.
func (r *connectionRate) carried(rate float64) {
	if rate > 0 {
		*r = min(*r, connectionRate(rate))
	}
}

// connections is how many connections the streams together should keep busy.
// Each more costs the store and us a request's work; each less, the rate of a
// connection.
func (r connectionRate) connections() int {
	if r <= fastLine/manyConnections {
		return manyConnections
	}
	return max(fewConnections, int(math.Ceil(float64(fastLine/r))))
}
