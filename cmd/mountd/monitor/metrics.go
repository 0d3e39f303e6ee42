package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"weightfs/fs"
)

// collector shows a mount's measures to Prometheus.
type collector struct{ m *Mount }

func (c collector) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, descs) }

func (c collector) Collect(metrics chan<- prometheus.Metric) {
	for _, measure := range c.m.measures() {
		kind := prometheus.GaugeValue
		if measure.counter {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc("weightfs_"+measure.name, measure.help, nil, nil)
		metrics <- prometheus.MustNewConstMetric(desc, kind, float64(measure.value))
	}
	metrics <- readSizes(c.m.Server.Stats())
}

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
