package proxy

import (
	"math"
	"math/rand/v2"
	"time"
)

// Tail makes a store uneven: first bytes that come late and connections that are
// slow. The same seed makes the same requests and connections so, counted since
// the last ResetStats. The zero value is an even store.
type Tail struct {
	Seed uint64
	// P99 is the 99th percentile of the times to the first byte, as a multiple of
	// their median, which is the shape's FirstByte; they are spread as a log-normal
	// distribution is. 0 is no spread.
	P99 float64
	// One connection in SlowOneIn carries SlowRate of its bytes per second.
	SlowOneIn int64
	SlowRate  float64
}

// S3LikeTail is S3Like with a tail: a 99th percentile of ten times the median,
// and one connection in fifty at a tenth of the rate.
func S3LikeTail() Shape {
	s := S3Like()
	s.Tail = Tail{Seed: 1, P99: 10, SlowOneIn: 50, SlowRate: 0.1}
	return s
}

// z99 is the 99th percentile of the normal distribution.
const z99 = 2.3263

// firstByte is the time to the first byte of a request of that number.
func (s Shape) firstByte(request int64) time.Duration {
	if s.Tail.P99 <= 1 {
		return s.FirstByte
	}
	z := rand.New(rand.NewPCG(s.Tail.Seed, uint64(request))).NormFloat64()
	return time.Duration(float64(s.FirstByte) * math.Exp(z*math.Log(s.Tail.P99)/z99))
}

// perConnection is the rate of a connection of that number, counted from 1. The
// first slow one is among the first eight, so that a client of few connections
// meets one too.
func (s Shape) perConnection(number int64) int64 {
	t := s.Tail
	if t.SlowOneIn == 0 || number%t.SlowOneIn != int64(t.Seed%8)+1 {
		return s.PerConnection
	}
	return int64(float64(s.PerConnection) * t.SlowRate)
}
