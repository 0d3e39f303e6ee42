package names

import "time"

// Stats is a snapshot of a Cache: counters since New, then gauges.
type Stats struct {
	Listings int64 // directories listed to their end
	Pages    int64 // of all listings, ended or not
	Failures int64 // listings that ended with an error of the store

	LastPage time.Time // when the last page came; zero: none has
	Folders  int64     // directories that something is remembered of
	Entries  int64     // remembered names, at 8 more for each directory
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.counts
	s.Folders, s.Entries = int64(len(c.folders.byDir)), int64(c.folders.entries)
	return s
}
