package monitor

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
	"weightfs/tests/memstore"
)

// TestMetricsLint holds the names, kinds and help of all metrics, those of a
// bucket included, to the conventions of Prometheus.
func TestMetricsLint(t *testing.T) {
	store := remote.WithRetry(memstore.New(nil), remote.RetryPolicy{})
	cache, err := prefetch.New(store, prefetch.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	known, err := names.New(store, names.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer known.Close()
	server, err := fs.Mount(t.TempDir(), store, cache, known, fs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Unmount(context.Background())
	c := collector{&Mount{Server: server, Cache: cache, Store: store}}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// Each measure, and the histogram of reads.
	if got, want := testutil.CollectAndCount(c), len(c.m.measures())+1; got != want {
		t.Errorf("%d metrics, want %d", got, want)
	}
}
