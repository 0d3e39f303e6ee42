package monitor

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
	"weightfs/remote/tier"
	"weightfs/tests/memstore"
)

// mountFor is a mount of an empty bucket for the length of a test.
func mountFor(t *testing.T) *Mount {
	t.Helper()
	store := remote.WithRetry(memstore.New(nil), remote.RetryPolicy{})
	cache, err := prefetch.New(store, prefetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	known, err := names.New(store, names.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { known.Close() })
	server, err := fs.Mount(t.TempDir(), store, cache, known, fs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Unmount(context.Background())
		server.Wait()
	})
	shared, err := tier.New(tier.Config{URLs: []string{"http://tier.example:8081"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() })
	return &Mount{
		Source: "s3://bucket/a/prefix", MemoryLimit: prefetch.DefaultMemoryLimit,
		Server: server, Cache: cache, Names: known, Store: store, Tier: shared, Logger: slog.New(slog.DiscardHandler),
	}
}

// TestMetricsLint holds the names, kinds and help of all metrics, those of a
// bucket included, to the conventions of Prometheus.
func TestMetricsLint(t *testing.T) {
	m := mountFor(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{m})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// Each measure, each histogram, and what is built.
	if got, want := testutil.CollectAndCount(collector{m}), len(m.measures(m.count()))+len(m.count().histograms())+1; got != want {
		t.Errorf("%d metrics, want %d", got, want)
	}
}
