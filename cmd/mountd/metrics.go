package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weightfs/fs"
)

const (
	// clientTimeout bounds how long a client may take to ask, and to listen.
	clientTimeout = 10 * time.Second
	// maxHeader bounds what it may say, in bytes.
	maxHeader = 8 << 10
	// maxScrapes bounds how many are answered at once; others get a 503.
	maxScrapes = 4
)

// serveMetrics serves /metrics at address until the returned function is
// called.
func (m *mounted) serveMetrics(address string) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics at %s: %w", address, err)
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector{m}); err != nil {
		return nil, errors.Join(fmt.Errorf("serve metrics: %w", err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: maxHeader,
		ReadTimeout: clientTimeout, WriteTimeout: clientTimeout, IdleTimeout: 2 * time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	m.logger.Info("serving metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	return func() error {
		err := server.Shutdown(context.Background())
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// collector shows a mount's measures to Prometheus.
type collector struct{ m *mounted }

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
	metrics <- readSizes(c.m.server.Stats())
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
