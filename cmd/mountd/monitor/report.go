package monitor

import (
	"os"
	"strings"
	"time"

	"weightfs/cmd/cli"
	"weightfs/fs"
	"weightfs/prefetch"
)

// Report is what a running mountd says of itself: as text ([Report.Print]), as
// JSON, and on the page.
type Report struct {
	Source        string           `json:"source"`
	Mountpoint    string           `json:"mountpoint"`
	PID           int              `json:"pid"` // of the process that signals are for
	UptimeSeconds float64          `json:"uptime_seconds"`
	MemoryLimit   int64            `json:"memory_limit"`
	Measures      map[string]int64 `json:"measures"`

	WorkerPID  int             `json:"worker_pid"` // of the process that serves
	Takeovers  int64           `json:"takeovers"`  // by which another one has died
	Upgrades   int64           `json:"upgrades"`   // by which one of another program took over
	Version    string          `json:"version"`
	Time       time.Time       `json:"time"`
	Bound      Bound           `json:"held_back_by"`
	Throughput Throughput      `json:"throughput"`
	Cache      Fill            `json:"cache"`
	Memory     Resident        `json:"memory"`
	Handoff    Handoff         `json:"handoff"`
	Tier       *cli.TierReport `json:"tier"` // null: there is none
	Waiting    Waiting         `json:"waiting"`
	Files      Files           `json:"files"`
	Fetches    Fetches         `json:"fetches"`
	Failures   []Failure       `json:"failures"`
	Kernel     Kernel          `json:"kernel"`
}

// Rates are in bytes per second.
type Rates struct {
	Served  float64 `json:"served"`  // to readers
	Fetched float64 `json:"fetched"` // from the store
}

// Point are the rates of some seconds.
type Point struct {
	SecondsAgo float64 `json:"seconds_ago"` // when they ended
	Rates
}

// Throughput is how fast bytes move: of late, and over two spans.
type Throughput struct {
	Now        Rates   `json:"now"`
	Minute     Rates   `json:"minute"`
	TenMinutes Rates   `json:"ten_minutes"`
	History    []Point `json:"history"` // of ten minutes, the oldest first
}

// Fill is what the cache's memory holds, in bytes. The parts add up to Total, which
// is the memory limit less what the bookkeeping takes.
type Fill struct {
	Total    int64 `json:"total"`
	Retained int64 `json:"retained"`  // read and kept
	Unread   int64 `json:"unread"`    // fetched ahead
	InFlight int64 `json:"in_flight"` // being fetched
	Leased   int64 `json:"leased"`    // being read
	Free     int64 `json:"free"`
}

// Resident is the memory of the process, in bytes.
type Resident struct {
	Resident int64 `json:"resident"`
	Promised int64 `json:"promised"` // no more than this
}

// Waiting is how many readers wait now.
type Waiting struct {
	Readers   int64 `json:"readers"`
	ForMemory int64 `json:"for_memory"` // of them
}

// Kernel is how the kernel is set; what is not known is 0 or "".
type Kernel struct {
	Release             string `json:"release"`
	Protocol            string `json:"fuse_protocol"`
	ReadAhead           int64  `json:"read_ahead"`
	MaxRead             int64  `json:"max_read"`
	MaxBackground       int64  `json:"max_background"`
	CongestionThreshold int64  `json:"congestion_threshold"`
	Passthrough         bool   `json:"passthrough"`
}

// Report describes the mount as of now.
func (m *Mount) Report() Report {
	now, activity, counts := m.sample(), m.Cache.Activity(), m.count()
	r := Report{
		Source:        m.Source,
		Mountpoint:    m.Mountpoint,
		PID:           m.PID,
		UptimeSeconds: now.at.Sub(m.Since).Seconds(),
		MemoryLimit:   m.MemoryLimit,
		Measures:      map[string]int64{},
		WorkerPID:     os.Getpid(),
		Takeovers:     m.Takeovers,
		Upgrades:      m.Upgrades,
		Version:       cli.Version(),
		Time:          now.at,
		Cache:         fillOf(counts.cache),
		Waiting:       Waiting{activity.Bytes.Readers, activity.Memory.Readers},
		Files:         filesOf(m.Server.OpenFiles(maxNamed)),
		Fetches:       fetchesOf(activity, counts.cache.Concurrency, now.at),
		Failures:      failuresOf(m.Server.Failures()),
		Kernel:        Kernel(m.Server.Kernel()),
	}
	for _, measure := range m.measures(counts) {
		r.Measures[measure.key()] = measure.value
	}
	r.Handoff, r.Tier = m.handoff(), m.tier()
	r.Memory = Resident{residentMemory(), r.Measures["memory_promise_bytes"]}
	samples := m.history.all()
	r.Throughput = throughputOf(samples, now)
	r.Bound = boundOf(loadOf(samples, now, activity, counts.cache, r))
	return r
}

// fillOf is what the cache's memory holds.
func fillOf(s prefetch.Stats) Fill {
	const block = 1 << 20
	f := Fill{
		Total: s.BlocksTotal * block, Retained: s.BlocksRetained * block, Unread: s.BlocksUnread * block,
		InFlight: s.BlocksInFlight * block, Free: s.BlocksFree * block,
	}
	f.Leased = max(f.Total-f.Retained-f.Unread-f.InFlight-f.Free, 0)
	return f
}

// loadOf is what is known of the last seconds.
func loadOf(samples []sample, now sample, a prefetch.Activity, s prefetch.Stats, r Report) load {
	l := load{
		gets: r.Fetches.UnderWay, limit: s.Concurrency, queued: a.Queued,
		ahead: s.BlocksUnread + s.BlocksInFlight, aheadLimit: a.BlocksAhead,
		open: r.Files.Open, byKernel: r.Files.byKernel(), cacheLost: r.Tier.Lost(),
	}
	for _, f := range a.Fetches {
		if f.Trouble != "" {
			l.repeated++
			l.trouble = f.Trouble
		}
	}
	if from, ok := before(samples, now.at, minSpan); ok {
		l.span = now.at.Sub(from.at)
		l.served, l.fetched = now.served-from.served, now.FetchedBytes-from.FetchedBytes
		l.waited, l.forMemory = now.Waited-from.Waited, now.ForMemory-from.ForMemory
		l.direct = now.direct - from.direct
		l.getting, l.unanswered = now.Fetching-from.Fetching, now.Unanswered-from.Unanswered
	}
	return l
}

// Failure is a request that got an errno, or several alike in a row.
type Failure struct {
	Time    time.Time `json:"time"` // of the last one
	Count   int64     `json:"count"`
	Op      string    `json:"op"`
	Object  string    `json:"object"`
	Offset  int64     `json:"offset"`
	PID     uint32    `json:"pid"`
	Command string    `json:"command"`
	Cause   string    `json:"cause"`
}

func failuresOf(failures []fs.Failure) []Failure {
	all := make([]Failure, 0, len(failures))
	for _, f := range failures {
		all = append(all, Failure{f.Time, f.Count, f.Op, f.Key, f.Offset, f.PID, f.Command, causeOf(f)})
	}
	return all
}

// causeOf is what a failure says beside what it is of: "GET ...: 403" of "read KEY
// [0,4096): GET ...: 403".
func causeOf(f fs.Failure) string {
	if rest, ok := strings.CutPrefix(f.Cause, f.Op+" "+f.Key); ok {
		if _, cause, ok := strings.Cut(rest, ": "); ok {
			return cause
		}
	}
	return f.Cause
}
