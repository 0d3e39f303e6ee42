package monitor

import (
	"sync"
	"time"

	"weightfs/prefetch"
)

const (
	// samplePeriod is how often the counters are noted while the mount runs,
	// whether or not somebody looks: who looks first wants to see the minutes
	// before. It takes a few microseconds, and the cache wakes the process once a
	// second anyway.
	samplePeriod = 5 * time.Second
	// historyLength is how far back they are kept.
	historyLength = 10 * time.Minute
	// minSpan is the least time over which a rate says something.
	minSpan = time.Second
)

// sample is what had been counted at a time.
type sample struct {
	at     time.Time
	served int64 // bytes of READ replies
	direct int64 // bytes from the store in place of the shared cache
	prefetch.Totals
}

// history keeps the samples of the last minutes, some KiB. The zero value is empty
// and ready. Safe for concurrent use.
type history struct {
	mu      sync.Mutex
	samples [int(historyLength/samplePeriod) + 1]sample // guarded by mu, as is count
	count   int                                         // so many were added; the next goes to its remainder
}

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples[h.count%len(h.samples)] = s
	h.count++
}

// all are the samples, the oldest first.
func (h *history) all() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := min(h.count, len(h.samples))
	all := make([]sample, 0, kept+1)
	for i := h.count - kept; i < h.count; i++ {
		all = append(all, h.samples[i%len(h.samples)])
	}
	return all
}

// before is the latest of the samples, which are in order, that is at least span
// older than now; else the oldest. ok is false if there is none.
func before(samples []sample, now time.Time, span time.Duration) (s sample, ok bool) {
	for i := len(samples) - 1; i >= 0; i-- {
		if s = samples[i]; now.Sub(s.at) >= span {
			break
		}
	}
	return s, len(samples) > 0
}

// throughputOf are the rates that the samples, the last of them taken now, tell.
func throughputOf(samples []sample, now sample) Throughput {
	t := Throughput{
		Now:        since(samples, now, minSpan),
		Minute:     since(samples, now, time.Minute),
		TenMinutes: since(samples, now, historyLength),
		History:    []Point{},
	}
	for i, s := range append(samples, now)[min(1, len(samples)):] {
		if len(samples) > 0 && s.at.After(samples[i].at) {
			t.History = append(t.History, Point{now.at.Sub(s.at).Seconds(), rates(samples[i], s)})
		}
	}
	return t
}

// since are the rates over the last span, or as much of it as is known.
func since(samples []sample, now sample, span time.Duration) Rates {
	from, ok := before(samples, now.at, span)
	if !ok {
		return Rates{}
	}
	return rates(from, now)
}

// rates are those between two samples.
func rates(from, to sample) Rates {
	seconds := to.at.Sub(from.at).Seconds()
	if seconds <= 0 {
		return Rates{}
	}
	return Rates{
		Served:  float64(to.served-from.served) / seconds,
		Fetched: float64(to.FetchedBytes-from.FetchedBytes) / seconds,
	}
}

// sample counts now.
func (m *Mount) sample() sample {
	s := sample{at: time.Now(), served: m.Server.ReadBytes() + m.leased(), Totals: m.Cache.Totals()}
	if m.Tier != nil {
		s.direct = m.Tier.Stats().DirectBytes
	}
	return s
}

// KeepHistory notes what is read and fetched every few seconds, until the returned
// function is called. Without it a report knows no rates.
func (m *Mount) KeepHistory() (stop func() error) {
	m.history.add(m.sample())
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(samplePeriod)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.history.add(m.sample())
				m.Server.MarkReads()
				if m.Handoff != nil {
					m.Handoff.Mark()
				}
			case <-over:
				return
			}
		}
	}()
	return func() error {
		close(over)
		<-ended
		return nil
	}
}
