package tier

import (
	"sync/atomic"
	"time"
)

// counts are the counters of Stats.
type counts struct {
	answers, bytes [Origins]atomic.Int64
	direct         atomic.Int64
	fallbacks      [Causes]atomic.Int64
}

// Stats counts what a [Tier] has done since it was made.
type Stats struct {
	// Answers of the tier that were what was asked for, by what it says of them.
	Answers [Origins]int64
	// Bytes of them, as they were read.
	Bytes [Origins]int64
	// DirectBytes were read from the store in place of the tier.
	DirectBytes int64
	// Fallbacks are the pieces of ranges that were, by cause.
	Fallbacks [Causes]int64
	// Delayed is how long readers waited for the budget of direct bytes, summed
	// over them.
	Delayed time.Duration
	// Instances are in the order of Config.URLs.
	Instances []Instance
}

// Instance counts what one instance has done.
type Instance struct {
	URL   string
	State State
	// Requests were made of it; Failures of them came to nothing. Breaks is how
	// often it was left alone for a while.
	Requests, Failures, Breaks int64
}

// HitRate is the part of the answers that the tier had, from 0 to 1, among those of
// which it says so; ok is false if it says so of none.
func (s Stats) HitRate() (rate float64, ok bool) {
	told := s.Answers[Hit] + s.Answers[Miss]
	if told == 0 {
		return 0, false
	}
	return float64(s.Answers[Hit]) / float64(told), true
}

// TierBytes are the bytes that came from the tier.
func (s Stats) TierBytes() (n int64) {
	for _, bytes := range s.Bytes {
		n += bytes
	}
	return n
}

// Stats returns the counters so far.
func (t *Tier) Stats() Stats {
	s := Stats{DirectBytes: t.counts.direct.Load(), Delayed: time.Duration(t.budget.waited.Load())}
	for o := range Origins {
		s.Answers[o], s.Bytes[o] = t.counts.answers[o].Load(), t.counts.bytes[o].Load()
	}
	for c := range Causes {
		s.Fallbacks[c] = t.counts.fallbacks[c].Load()
	}
	for _, in := range t.instances {
		s.Instances = append(s.Instances, Instance{URL: in.name, State: in.state(),
			Requests: in.requests.Load(), Failures: in.failures.Load(), Breaks: in.breaks.Load()})
	}
	return s
}
