package tests

import (
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestMeasuresOfAnS3Mount holds what mountd status, as /measures, says of a mount of
// a bucket, with a memory limit of a quarter of what is read: after reads, and
// during one.
func TestMeasuresOfAnS3Mount(t *testing.T) {
	t.Parallel()
	before := proxy.Start(t, theStage.Server.Endpoint)
	m := mountWith(t, rig.MountOptions{
		Source: "s3://" + bucket, Args: []string{"--memory-limit=32Mi"},
		Env: []string{"AWS_ENDPOINT_URL=" + before.Endpoint},
	})
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
	checkMeasuresAfter(t, awaitMeasures(t, m.Dir, atRest), before, float64(size), float64(again))

	before.SetShape(proxy.Shape{PerConnection: 1 << 20, Total: 4 << 20})
	reader, err := rig.StartProcess(exec.Command("dd", "if="+filepath.Join(m.Dir, "sharded", filepath.Base(shards[0])), "of=/dev/null", "bs=1M", "iflag=direct", "status=none"))
	if err != nil {
		t.Fatal(err)
	}
	awaitMeasures(t, m.Dir, func(m measures) bool {
		return m["cache_leases"] > 0 && m["cache_blocks_in_flight"] > 0 && m["active_fetches"] > 0 && m["open_files"] == 1 &&
			m["streams"] > 0 && m["window_bytes"] >= 2<<20 && m["window_bytes"] <= 32<<20
	})
	before.SetShape(proxy.Shape{})
	if code := reader.Wait(); code != 0 {
		t.Errorf("dd: exit %d: %s", code, reader.Output())
	}
	awaitMeasures(t, m.Dir, atRest)
}

// atRest says that nobody reads, and nothing is fetched.
func atRest(m measures) bool {
	return m["open_files"] == 0 && m["active_fetches"] == 0 && m["cache_leases"] == 0 && m["cache_blocks_in_flight"] == 0
}

// checkMeasuresAfter holds the measures after size bytes of four files were read
// through the page cache, and again bytes of one of them past it. The kernel may
// have dropped some pages between, and asked for them again.
func checkMeasuresAfter(t *testing.T, m measures, before *proxy.Proxy, size, again float64) {
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
	} {
		if got, ok := m[c.name]; !ok || got < c.least || got > c.most {
			t.Errorf("%s is %v (there: %v), want %v to %v", c.name, got, ok, c.least, c.most)
		}
	}
}

// measures are those of mountd status, by name.
type measures map[string]float64

// awaitMeasures looks until the measures are as wanted.
func awaitMeasures(t *testing.T, dir string, wanted func(measures) bool) measures {
	t.Helper()
	var status struct{ Measures measures }
	if !rig.Eventually(func() bool {
		if err := json.Unmarshal([]byte(output(t, theStage.Mountd, "status", "--json", dir)), &status); err != nil {
			t.Fatal(err)
		}
		return wanted(status.Measures)
	}) {
		t.Fatalf("the measures are not as they should be: %v", status.Measures)
	}
	return status.Measures
}
