package prefetch

import "weightfs/prefetch/latency"

// Stats is a snapshot of a Cache: counters since New, then gauges.
type Stats struct {
	Fetches      int64 // GETs started
	Failures     int64 // GETs that failed for good
	FetchedBytes int64 // bytes that landed in the cache
	ServedBytes  int64 // bytes of Views
	Hits         int64 // Views that did not have to wait
	Misses       int64 // Views that had to
	Evictions    int64 // blocks whose memory was taken back

	BlocksTotal    int64 // of the arena, of 1 MiB each; smaller ones count as parts
	BlocksRetained int64 // read, idle
	BlocksUnread   int64 // fetched ahead, idle
	BlocksInFlight int64 // being fetched
	BlocksFree     int64
	BlocksResident int64 // memory of the node
	Leases         int64 // blocks held by Views, each as often as it is held
	ActiveFetches  int64 // GETs under way
	Concurrency    int64 // GETs that may be under way
	Files          int64 // object versions known
	Streams        int64 // recognised and recently used
	WindowBytes    int64 // sum of the streams' windows

	// FirstByteTimes are how long GETs took until their first byte came, and
	// FetchTimes until their last, of those that succeeded; retries and resumptions
	// by the store are part of both.
	FirstByteTimes, FetchTimes latency.Counts
}
