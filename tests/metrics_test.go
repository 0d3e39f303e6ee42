package tests

import (
	"bufio"
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestMetricsOfAnS3Mount holds what /metrics says of a mount of a bucket, with a
// memory limit of a quarter of what is read: after reads, and during one.
func TestMetricsOfAnS3Mount(t *testing.T) {
	before := proxy.Start(t, theStage.server.Endpoint)
	m := mountWith(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: []string{"--memory-limit=64Mi", "--http=127.0.0.1:0"},
		Env: []string{"AWS_ENDPOINT_URL=" + before.Endpoint},
	})
	url := metricsAddress(t, m)
	path := func(shard string) string {
		return filepath.Join(m.Dir, "sharded", "model-0000"+shard+"-of-00004.safetensors")
	}
	for _, shard := range []string{"1", "2", "3", "4"} {
		output(t, "dd", "if="+path(shard), "of=/dev/null", "bs=1M", "status=none")
	}
	output(t, "dd", "if="+path("4"), "of=/dev/null", "bs=1M", "iflag=direct", "skip=32", "status=none")
	checkMetricsAfter(t, awaitMetrics(t, url, atRest), before)

	before.SetShape(proxy.Shape{PerConnection: 1 << 20, Total: 4 << 20})
	reader, err := rig.StartProcess(exec.Command("dd", "if="+path("1"), "of=/dev/null", "bs=1M", "iflag=direct", "status=none"))
	if err != nil {
		t.Fatal(err)
	}
	awaitMetrics(t, url, func(m metrics) bool {
		return m["cache_leases"] > 0 && m["cache_blocks_in_flight"] > 0 && m["active_fetches"] > 0 && m["open_files"] == 1 &&
			m["streams"] > 0 && m["window_bytes"] >= 2<<20 && m["window_bytes"] <= 64<<20
	})
	before.SetShape(proxy.Shape{})
	if code := reader.Wait(); code != 0 {
		t.Errorf("dd: exit %d: %s", code, reader.Output())
	}
	awaitMetrics(t, url, atRest)
}

// atRest says that nobody reads, and nothing is fetched.
func atRest(m metrics) bool {
	return m["open_files"] == 0 && m["active_fetches"] == 0 && m["cache_leases"] == 0 && m["cache_blocks_in_flight"] == 0
}

// checkMetricsAfter holds the metrics after 256 MiB were read through the page
// cache, and half a shard of them again past it.
func checkMetricsAfter(t *testing.T, m metrics, before *proxy.Proxy) {
	t.Helper()
	const size, again, limit = 256 << 20, 32 << 20, 64
	for _, c := range []struct {
		name        string
		least, most float64
	}{
		{"read_bytes_total", size + again, size * 5 / 4},
		{"served_bytes_total", size + again, size * 5 / 4},
		{"fetched_bytes_total", size, size * 5 / 4},
		{"store_bytes_total", size, size * 5 / 4},
		{"store_gets_total", size / (8 << 20), 512},
		{"store_lists_total", 1, 8},
		{"store_heads_total", 0, 8},
		{"cache_hits_total", 16, 2000},
		{"cache_misses_total", 1, 2000},
		{"cache_evictions_total", size>>20 - limit, size >> 20},
		{"cache_blocks", limit, limit},
		{"cache_blocks_retained", limit / 4, limit},
		{"streams", 0, 0},
		{"reads_total", (size + again) >> 20, 2000},
		{"read_size_bytes_count", m["reads_total"], m["reads_total"]},
		{"read_size_bytes_sum", m["read_bytes_total"], m["read_bytes_total"]},
		{`read_size_bytes_bucket{le="+Inf"}`, m["reads_total"], m["reads_total"]},
		{`read_size_bytes_bucket{le="1.048576e+06"}`, m["reads_total"], m["reads_total"]},
		{`read_size_bytes_bucket{le="524288"}`, 0, m["reads_total"] / 2},
	} {
		if got, ok := m[c.name]; !ok || got < c.least || got > c.most {
			t.Errorf("%s is %v (there: %v), want %v to %v", c.name, got, ok, c.least, c.most)
		}
	}
	if sum := m["cache_blocks_free"] + m["cache_blocks_retained"] + m["cache_blocks_unread"]; sum != limit {
		t.Errorf("%v blocks are free, retained or unread, of %d", sum, limit)
	}
	checkRequests(t, m, before)
}

// checkRequests holds the requests by kind to what the proxy counted.
func checkRequests(t *testing.T, m metrics, before *proxy.Proxy) {
	t.Helper()
	counted := before.Stats().Requests
	counted["LIST"]-- // by which mountd looks at its start whether there is such a bucket
	for name, kind := range map[string]string{"store_gets_total": "GET", "store_lists_total": "LIST", "store_heads_total": "HEAD"} {
		if m[name] != float64(counted[kind]) {
			t.Errorf("%s is %v, and the store had %d", name, m[name], counted[kind])
		}
	}
}

// metrics are the values of a scrape by name, without the prefix of all.
type metrics map[string]float64

// metricsAddress is where the mount says that it serves metrics.
func metricsAddress(t *testing.T, m *rig.Mount) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	match, err := m.AwaitOutput(ctx, regexp.MustCompile(`http://\S+/metrics`))
	if err != nil {
		t.Fatal(err)
	}
	return match[0]
}

// awaitMetrics scrapes until the metrics are as wanted.
func awaitMetrics(t *testing.T, url string, wanted func(metrics) bool) metrics {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(childLimit)
	for {
		m := scrape(t, url)
		if wanted(m) {
			return m
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("the metrics are not as they should be: %v", m)
		}
	}
}

// scrape reads the text format, of which one line is a name and a value.
func scrape(t *testing.T, url string) metrics {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	m := metrics{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, ours := strings.CutPrefix(name, "weightfs_")
		if !ours {
			continue
		}
		if m[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatal(err)
		}
	}
	return m
}
