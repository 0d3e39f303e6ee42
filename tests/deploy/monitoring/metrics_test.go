package monitoring

import (
	"bufio"
	"maps"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weightfs/tests/proxy"
)

// scrape are the samples of a mount, by name and labels.
func (m *mounted) scrape() map[string]float64 {
	m.t.Helper()
	samples := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(m.want("/metrics", nil, http.StatusOK).body)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		at := strings.LastIndex(lines.Text(), " ")
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			m.t.Errorf("%q: %v", lines.Text(), err)
		}
		samples[lines.Text()[:at]] = value
	}
	return samples
}

// TestMetricsOfALoad reads through a mount whose store fails at times, and holds
// what is counted of it, and that none of it names what was read.
func TestMetricsOfALoad(t *testing.T) {
	p := proxy.Start(t, theStage.Server.Endpoint)
	m := mount(t, "127.0.0.1:0", []string{"AWS_ENDPOINT_URL=" + p.Endpoint}, "--memory-limit", "64Mi")
	p.SetRules(1,
		proxy.Rule{Op: "GET", Key: object, Count: 1, Fault: proxy.Fault{Status: 503, Code: "SlowDown"}},
		proxy.Rule{Op: "GET", Key: large, Fault: proxy.Fault{Status: 403, Code: "AccessDenied"}},
	)
	if !m.read(object) {
		t.Error("a failure that passes reaches the reader")
	}
	if m.read(large) {
		t.Error("what is forbidden can be read")
	}
	got := m.scrape()
	for name, least := range map[string]float64{
		"weightfs_reads_total": 1, "weightfs_read_bytes_total": 1 << 20, "weightfs_listings_total": 1, "weightfs_listing_pages_total": 1,
		"weightfs_listing_last_page_timestamp_seconds": 1.7e9, "weightfs_remembered_names": 2, "weightfs_remembered_directories": 1,
		"weightfs_store_retries_total": 1, "weightfs_store_gets_total": 3, "weightfs_cache_blocks": 1,
		`weightfs_store_errors_total{class="throttled"}`: 1, `weightfs_store_errors_total{class="forbidden"}`: 1,
		`weightfs_errors_total{errno="EACCES",op="read"}`: 1, "weightfs_fetch_first_byte_seconds_count": 1, "weightfs_fetch_duration_seconds_count": 1,
		`weightfs_read_duration_seconds_count{outcome="wait"}`: 1, "weightfs_memory_limit_bytes": 64 << 20,
		"process_resident_memory_bytes": 1 << 20, "process_cpu_seconds_total": 0, "go_goroutines": 1,
	} {
		if value, ok := got[name]; !ok || value < least {
			t.Errorf("%s is %v, %t; want at least %v", name, value, ok, least)
		}
	}
	checkSums(t, got)
	checkNames(t, m, p)
}

// checkSums holds that what is counted in two ways is the same.
func checkSums(t *testing.T, got map[string]float64) {
	t.Helper()
	timed := got[`weightfs_read_duration_seconds_count{outcome="hit"}`] + got[`weightfs_read_duration_seconds_count{outcome="wait"}`]
	if reads := got["weightfs_reads_total"]; timed != reads || got["weightfs_read_size_bytes_count"] != reads {
		t.Errorf("%v READs, %v of them timed, %v by size", reads, timed, got["weightfs_read_size_bytes_count"])
	}
	var errors float64
	for name, value := range got {
		if strings.HasPrefix(name, "weightfs_errors_total{") && strings.Contains(name, `op="read"`) {
			errors += value
		}
	}
	if errors != got["weightfs_read_errors_total"] {
		t.Errorf("%v failed READs, by errno %v", got["weightfs_read_errors_total"], errors)
	}
	if resident, promise := got["process_resident_memory_bytes"], got["weightfs_memory_promise_bytes"]; resident > promise || promise < 192<<20 {
		t.Errorf("%v bytes resident, %v promised", resident, promise)
	}
}

// checkNames holds that the metrics name the bucket, and nothing in it; where the
// store is, they do not say either.
func checkNames(t *testing.T, m *mounted, p *proxy.Proxy) {
	t.Helper()
	text := m.get("/metrics", nil).body
	if !regexp.MustCompile(`weightfs_build_info\{commit="[^"]+",goversion="go[^"]+",source="s3://` + bucket + `-[a-z-]+",version="[^"]+"\} 1`).MatchString(text) {
		t.Error("no build info, or one that names more than the bucket")
	}
	for _, secret := range []string{prefix, object, large, "safetensors", m.Dir, p.Endpoint, theStage.Server.AccessKey, theStage.Server.SecretKey} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics have %q", secret)
		}
	}
}

// families are the names of the metrics that a mount of a bucket with a shared cache
// shows, with those of the parts of histograms and summaries.
func families(t *testing.T) map[string]bool {
	t.Helper()
	m := mount(t, "127.0.0.1:0", nil, "--cache-url", "http://127.0.0.1:9") // which nobody is asked before something is read
	names := map[string]bool{}
	for sample := range m.scrape() {
		name, _, _ := strings.Cut(sample, "{")
		names[name] = true
	}
	if len(names) < 60 {
		t.Fatalf("only %d metrics: %v", len(names), maps.Keys(names))
	}
	return names
}

// readFile reads a file of the project.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(theStage.root + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
