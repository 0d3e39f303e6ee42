package prefetch

// Stats is a snapshot of a Cache: counters since New, then gauges.
type Stats struct {
	Fetches      int64 // GETs started
	Failures     int64 // GETs that failed for good
	FetchedBytes int64 // bytes that landed in the cache
	ServedBytes  int64 // bytes of Views
	Hits         int64 // Views that did not have to wait
	Misses       int64 // Views that had to
	Evictions    int64 // blocks whose memory was taken back

	BlocksTotal    int64 // of the arena, of 1 MiB each
	BlocksRetained int64 // read, idle
	BlocksUnread   int64 // fetched ahead, idle
	BlocksInFlight int64 // being fetched
	BlocksFree     int64
	Leases         int64 // blocks held by Views, each as often as it is held
	ActiveFetches  int64 // GETs under way
	Concurrency    int64 // GETs that may be under way
	Files          int64 // object versions known
	Streams        int64 // recognised and recently used
	WindowBytes    int64 // sum of the streams' windows
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.unlock()
	s := c.stats
	s.BlocksTotal = int64(c.arena.slots)
	s.BlocksRetained = int64(c.retained.len)
	s.BlocksUnread = int64(c.unread.len)
	s.BlocksInFlight = int64(c.inflight)
	s.BlocksFree = int64(c.arena.available())
	s.Leases = int64(c.leases)
	s.ActiveFetches = int64(c.active)
	s.Concurrency = int64(c.limit.speculative())
	s.Files = int64(len(c.files))
	for _, f := range c.files {
		for _, cur := range f.cursors.list {
			if cur.window > 0 && cur.used >= c.oldest(activeBytes) {
				s.Streams++
				s.WindowBytes += cur.window
			}
		}
	}
	return s
}
