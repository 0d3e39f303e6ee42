package proxy

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats are counters since the start or the last ResetStats.
type Stats struct {
	// Connections were accepted.
	Connections int64
	// Requests and Bytes count requests and bytes of response bodies by
	// Request.Op.
	Requests, Bytes map[string]int64
	// Faults is how many requests met a rule, those under way included.
	Faults int64
	// InFlight is how many requests are under way.
	InFlight int64
}

// Record is one finished request.
type Record struct {
	Request
	Start time.Time
	// Status is what the client was sent, 0 for nothing.
	Status int
	// Bytes of the body were sent, by Duration after Start; the head by
	// FirstByte after it.
	Bytes               int64
	FirstByte, Duration time.Duration
	// Rule is the one that the request met, or nil.
	Rule *Rule
	// Err says why the exchange did not end as the server meant it to.
	Err string
}

// ledger counts and keeps records.
type ledger struct {
	mu         sync.Mutex
	stats      Stats
	records    []Record
	lastNumber int64
	resetAt    int64 // lastNumber at the last reset
}

func (l *ledger) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Connections++
}

// begin notes a request and returns its number, of all and since the counters
// were reset.
func (l *ledger) begin(op string) (number, ordinal int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stats.Requests == nil {
		l.stats.Requests, l.stats.Bytes = map[string]int64{}, map[string]int64{}
	}
	l.stats.Requests[op]++
	l.stats.InFlight++
	l.lastNumber++
	return l.lastNumber, l.lastNumber - l.resetAt
}

// passed adds bytes of a body as they go, so that a test can watch them.
func (l *ledger) passed(op string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stats.Bytes != nil {
		l.stats.Bytes[op] += n
	}
}

// faulted notes that a request met a rule.
func (l *ledger) faulted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Faults++
}

func (l *ledger) end(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.InFlight--
	l.records = append(l.records, r)
}

// Stats returns the counters.
func (l *ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Requests, s.Bytes = maps.Clone(s.Requests), maps.Clone(s.Bytes)
	return s
}

// Log returns the finished requests, in the order of their ends.
func (l *ledger) Log() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats, l.records, l.resetAt = Stats{InFlight: l.stats.InFlight}, nil, l.lastNumber
}
