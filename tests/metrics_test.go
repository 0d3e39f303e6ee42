package tests

import (
	"bufio"
	"context"
	"math"
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
	t.Parallel()
	before := proxy.Start(t, theStage.server.Endpoint)
	m := mountWith(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: []string{"--memory-limit=32Mi", "--http=127.0.0.1:0"},
		Env: []string{"AWS_ENDPOINT_URL=" + before.Endpoint},
	})
	url := metricsAddress(t, m)
	shards, err := filepath.Glob(filepath.Join(theStage.model(t, "sharded").dir, "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(shard string, args ...string) (bytes int64) {
		out := output(t, "sh", append([]string{"-c", `dd if="$0" bs=1M status=none "$@" | wc -c`, filepath.Join(m.Dir, "sharded", filepath.Base(shard))}, args...)...)
		if bytes, err = strconv.ParseInt(strings.TrimSpace(out), 10, 64); err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	var size int64
	for _, shard := range shards {
		size += read(shard)
	}
	again := read(shards[3], "iflag=direct", "skip=16")
	checkMetricsAfter(t, awaitMetrics(t, url, atRest), before, float64(size), float64(again))

	before.SetShape(proxy.Shape{PerConnection: 1 << 20, Total: 4 << 20})
	reader, err := rig.StartProcess(exec.Command("dd", "if="+filepath.Join(m.Dir, "sharded", filepath.Base(shards[0])), "of=/dev/null", "bs=1M", "iflag=direct", "status=none"))
	if err != nil {
		t.Fatal(err)
	}
	awaitMetrics(t, url, func(m metrics) bool {
		return m["cache_leases"] > 0 && m["cache_blocks_in_flight"] > 0 && m["active_fetches"] > 0 && m["open_files"] == 1 &&
			m["streams"] > 0 && m["window_bytes"] >= 2<<20 && m["window_bytes"] <= 32<<20
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

// checkMetricsAfter holds the metrics after size bytes of four files were read
// through the page cache, and again bytes of one of them past it. The kernel may
// have dropped some pages between, and asked for them again.
func checkMetricsAfter(t *testing.T, m metrics, before *proxy.Proxy, size, again float64) {
	t.Helper()
	const limit = 32
	passed := before.Stats()
	for _, c := range []struct {
		name        string
		least, most float64
	}{
		{"opens_total", 5, 5},
		{"read_bytes_total", size + again, (size + again) * 1.1},
		{"served_bytes_total", m["read_bytes_total"], m["read_bytes_total"]},
		{"fetched_bytes_total", size, size * 1.25},
		{"store_bytes_total", m["fetched_bytes_total"], float64(passed.Bytes["GET"])},
		{"store_gets_total", float64(passed.Requests["GET"]), float64(passed.Requests["GET"])},
		// But the one by which mountd looks at its start whether there is such a bucket.
		{"store_lists_total", float64(passed.Requests["LIST"] - 1), float64(passed.Requests["LIST"] - 1)},
		{"store_heads_total", float64(passed.Requests["HEAD"]), float64(passed.Requests["HEAD"])},
		{"cache_misses_total", 1, m["reads_total"] - 1},
		{"cache_hits_total", m["reads_total"] - m["cache_misses_total"], m["reads_total"] - m["cache_misses_total"]},
		{"cache_evictions_total", math.Ceil(m["fetched_bytes_total"]/(1<<20)) - limit, math.Ceil(m["fetched_bytes_total"]/(1<<20)) + 5},
		{"cache_blocks", limit, limit},
		{"cache_blocks_retained", limit / 4, limit},
		{"cache_blocks_free", limit - m["cache_blocks_retained"] - m["cache_blocks_unread"], limit - m["cache_blocks_retained"] - m["cache_blocks_unread"]},
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
