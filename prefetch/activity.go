package prefetch

import (
	"slices"
	"time"
)

// Waits are the readers that wait.
type Waits struct {
	Readers int64         // now
	Total   time.Duration // since New, summed over the readers
}

func waitsOf(m *meter, now time.Time) Waits {
	readers, total := m.read(now)
	return Waits{readers, total}
}

// Fetch is a GET under way.
type Fetch struct {
	Key      string
	Offset   int64
	Length   int64
	Landed   int64 // bytes that came
	Began    time.Time
	Answered bool   // its first byte came
	Awaited  bool   // a reader waits for it
	Trouble  string // why the last attempt failed that is being repeated; ""
}

// Activity is what a Cache does now, and what it waits for.
type Activity struct {
	Fetches     []Fetch // the oldest first; at most 256
	Queued      int64   // GETs that readers wait for and that have no slot yet
	Bytes       Waits   // all readers that wait
	Memory      Waits   // those among them that wait for memory
	BlocksAhead int64   // that may be in flight or unread
}

// Activity returns a snapshot. It takes no lock that a read which finds its bytes
// takes.
func (c *Cache) Activity() Activity {
	now := c.now()
	a := Activity{
		Bytes:       waitsOf(&c.waits, now),
		Memory:      waitsOf(&c.memoryWaits, now),
		BlocksAhead: c.allowance().Ahead(),
	}
	flying, queued := c.scheduler.underWay()
	a.Queued = int64(queued)
	for _, fl := range flying {
		a.Fetches = append(a.Fetches, fl.describe())
	}
	slices.SortFunc(a.Fetches, func(x, y Fetch) int { return x.Began.Compare(y.Began) })
	return a
}

// underWay are the flights that fly, as many as there may be, and how many wait.
func (s *scheduler) underWay() (flying []*flight, queued int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.flying), len(s.queue)
}

// describe says how far the flight is.
func (fl *flight) describe() Fetch {
	lo, hi := fl.claim.Lo, fl.end()
	trouble := ""
	if cause := fl.trouble.Load(); cause != nil {
		trouble = (*cause).Error()
	}
	return Fetch{
		Key: fl.object.obj.Key, Offset: lo, Length: hi - lo,
		Landed: min(fl.pos.Load(), hi) - lo, Began: fl.began,
		Answered: fl.first.Load() != 0, Awaited: fl.awaited(), Trouble: trouble,
	}
}

// Totals are counters since New that cost next to nothing to read.
type Totals struct {
	FetchedBytes int64
	Waited       time.Duration // by readers, summed over them
	ForMemory    time.Duration // the part of it that they waited for memory
	Fetching     time.Duration // that GETs took, summed over them
	Unanswered   time.Duration // the part of it before their first bytes
}

// Totals returns the counters, with the waits and the GETs that are not over yet.
func (c *Cache) Totals() Totals {
	now := c.now()
	t := Totals{FetchedBytes: c.counts.fetched.Load()}
	_, t.Waited = c.waits.read(now)
	_, t.ForMemory = c.memoryWaits.read(now)
	_, t.Fetching = c.gets.read(now)
	_, t.Unanswered = c.unanswered.read(now)
	return t
}
