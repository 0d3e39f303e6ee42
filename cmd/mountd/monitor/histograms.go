// The distributions of a running mount, for Prometheus.

package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"weightfs/fs"
	"weightfs/prefetch/latency"
)

// histograms are the distributions among the counts.
func (c counts) histograms() []prometheus.Metric {
	kernel, cache := c.kernel, c.cache
	return []prometheus.Metric{
		readSizes(kernel),
		durations("read_duration_seconds", readHelp, prometheus.Labels{"outcome": "hit"}, kernel.HitTimes),
		durations("read_duration_seconds", readHelp, prometheus.Labels{"outcome": "wait"}, kernel.WaitTimes),
		durations("fetch_first_byte_seconds", "GETs until their first byte, retries included.", nil, cache.FirstByteTimes),
		durations("fetch_duration_seconds", "GETs that succeeded until their last byte, retries included.", nil, cache.FetchTimes),
	}
}

const readHelp = "READ requests from their arrival to the reply: hits had their bytes in the cache, waits did not."

// readSizes is the histogram of the READs by size.
func readSizes(s fs.Stats) prometheus.Metric {
	buckets := make(map[float64]uint64, len(s.ReadSizes))
	var reads uint64
	for class, n := range s.ReadSizes {
		reads += uint64(n)
		buckets[float64(fs.ReadSizeBound(class))] = reads
	}
	desc := prometheus.NewDesc("weightfs_read_size_bytes", "READ requests answered, by the bytes of the reply.", nil, nil)
	return prometheus.MustNewConstHistogram(desc, reads, float64(s.ReadBytes), buckets)
}

// durations is a histogram of times.
func durations(name, help string, labels prometheus.Labels, c latency.Counts) prometheus.Metric {
	buckets := make(map[float64]uint64, len(c.Buckets)-1)
	var n uint64
	for i, count := range c.Buckets {
		n += uint64(count)
		if i < len(c.Buckets)-1 { // the last has no bound
			buckets[latency.Bound(i).Seconds()] = n
		}
	}
	desc := prometheus.NewDesc("weightfs_"+name, help, nil, labels)
	return prometheus.MustNewConstHistogram(desc, n, c.Sum.Seconds(), buckets)
}
