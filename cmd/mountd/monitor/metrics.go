// What Prometheus is given. The numbers come from measures.go and histograms.go,
// and docs/metrics.md says what each means, and what to do when it moves. None
// of them names an object: a scraper needs no token.

package monitor

import (
	"cmp"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weightfs/cmd/cli"
	"weightfs/remote"
)

// maxScrapes bounds how many are answered at once; others get a 503.
const maxScrapes = 4

// scrapeHandler answers with what the collectors collect.
func scrapeHandler(all ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}), nil
}

// collectors are of the mount, of its process and of the Go runtime.
func (m *Mount) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		collector{m},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
}

// collector shows a mount's measures to Prometheus.
type collector struct{ m *Mount }

func (c collector) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, descs) }

func (c collector) Collect(metrics chan<- prometheus.Metric) {
	counts := c.m.count()
	for _, measure := range c.m.measures(counts) {
		kind := prometheus.GaugeValue
		if measure.counter {
			kind = prometheus.CounterValue
		}
		desc := prometheus.NewDesc("weightfs_"+measure.name, measure.help, nil, measure.labels)
		metrics <- prometheus.MustNewConstMetric(desc, kind, float64(measure.value))
	}
	for _, histogram := range counts.histograms() {
		metrics <- histogram
	}
	metrics <- buildInfo(c.m.Source)
}

// buildInfo says what runs, and what it shows: a bucket without the prefix in
// it, or a folder without its path, which may be the name of a model.
func buildInfo(source string) prometheus.Metric {
	build := cli.ThisBuild()
	labels := prometheus.Labels{"version": build.Version, "commit": cmp.Or(build.Commit, "unknown"), "goversion": runtime.Version(), "source": "folder"}
	if parsed, err := remote.ParseSource(source); err == nil && parsed.Bucket != "" {
		labels["source"] = remote.Source{Bucket: parsed.Bucket}.String()
	}
	desc := prometheus.NewDesc("weightfs_build_info", "What runs, and the bucket that it shows; always 1.", nil, labels)
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1)
}
