// The numbers of a running mount, under one name wherever they are shown. What
// is a distribution is in histograms.go; how Prometheus gets them, in metrics.go.

package monitor

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/prefetch/names"
	"weightfs/remote"
)

const (
	// PromisedBeside is how much more than its limit mountd may take, beside
	// PromisedForEach of each object that is known to the kernel or to us.
	PromisedBeside  = 128 << 20
	PromisedForEach = 1 << 10
)

// measure is one number of a running mount, under one name wherever it is
// shown: status, its JSON and the metrics.
type measure struct {
	name    string
	help    string
	labels  map[string]string // tell those of one name apart
	counter bool              // grows only; otherwise a gauge
	value   int64
}

func counter(name, help string, value int64) measure {
	return measure{name: name, help: help, counter: true, value: value}
}

func gauge(name, help string, value int64) measure {
	return measure{name: name, help: help, value: value}
}

// with is the measure with one more label.
func (m measure) with(label, value string) measure {
	m.labels = maps.Clone(m.labels)
	if m.labels == nil {
		m.labels = map[string]string{}
	}
	m.labels[label] = value
	return m
}

// key is the name with the labels, as Prometheus writes it.
func (m measure) key() string {
	if len(m.labels) == 0 {
		return m.name
	}
	var labels []string
	for _, label := range slices.Sorted(maps.Keys(m.labels)) {
		labels = append(labels, fmt.Sprintf("%s=%q", label, m.labels[label]))
	}
	return m.name + "{" + strings.Join(labels, ",") + "}"
}

// counts are what the parts of a mount have counted, as of one moment: the cache
// looks at each object that it knows for them, so that they are taken once.
type counts struct {
	kernel fs.Stats
	cache  prefetch.Stats
	names  names.Stats
}

func (m *Mount) count() counts {
	return counts{m.Server.Stats(), m.Cache.Stats(), m.Names.Stats()}
}

// measures are the numbers of the mount, those that are counted and those of now.
func (m *Mount) measures(c counts) []measure {
	all := slices.Concat(kernelMeasures(c.kernel), cacheMeasures(c.cache), nameMeasures(c.names), m.handoffMeasures(), m.tierMeasures())
	if store, ok := m.Store.(*remote.Retrying); ok {
		all = append(all, storeMeasures(store.Stats())...)
	}
	promise := m.MemoryLimit + PromisedBeside + PromisedForEach*max(c.kernel.Inodes, c.names.Entries)
	return append(all,
		counter("takeovers_total", "How often a process took the mount over from one that had died.", m.Takeovers),
		counter("upgrades_total", "How often a process of another program took the mount over by mountd upgrade.", m.Upgrades),
		gauge("memory_limit_bytes", "Memory for what is fetched.", m.MemoryLimit),
		gauge("memory_promise_bytes", "What the daemon's resident memory stays below, by what it knows now.", promise),
		gauge("goroutines", "Goroutines of the daemon.", int64(runtime.NumGoroutine())),
	)
}

// kernelMeasures are of what the kernel asked.
func kernelMeasures(s fs.Stats) []measure {
	all := []measure{
		counter("lookups_total", "Names looked up.", s.Lookups),
		counter("directory_reads_total", "Replies to getdents.", s.DirectoryReads),
		counter("opens_total", "Files opened.", s.Opens),
		counter("passthrough_opens_total", "Files opened that the kernel reads by itself.", s.PassthroughOpens),
		counter("passthrough_fallbacks_total", "Files opened that the kernel refused to read by itself.", s.PassthroughFallbacks),
		counter("reads_total", "READ requests answered.", s.Reads),
		counter("read_bytes_total", "Bytes of the READ replies.", s.ReadBytes),
		counter("read_errors_total", "READ requests answered with an errno.", s.ReadErrors),
		counter("killed_waits_total", "Waits ended because the task was killed.", s.Killed),
		counter("panics_total", "Requests that failed by a defect.", s.Panics),
		gauge("open_files", "Open handles.", s.OpenFiles),
		gauge("inodes", "Inodes that the kernel knows.", s.Inodes),
		gauge("unkept_inodes", "Inodes that a process which takes over will not know.", s.UnkeptInodes),
	}
	for op := range s.Errors {
		for errno, n := range s.Errors[op] {
			operation, name := fs.ErrorLabels(op, errno)
			all = append(all, counter("errors_total", "Requests of the kernel answered with an errno.", n).
				with("op", operation).with("errno", name))
		}
	}
	return all
}

// nameMeasures are of the names that are remembered.
func nameMeasures(s names.Stats) []measure {
	last := int64(0)
	if !s.LastPage.IsZero() {
		last = s.LastPage.Unix()
	}
	return []measure{
		counter("listings_total", "Directories listed to their end.", s.Listings),
		counter("listing_pages_total", "Pages of listings that came.", s.Pages),
		counter("listing_failures_total", "Listings that ended with an error of the store.", s.Failures),
		gauge("listing_last_page_timestamp_seconds", "When the last page of a listing came, 0 if none has.", last),
		gauge("remembered_names", "Names remembered, at 8 more for each directory.", s.Entries),
		gauge("remembered_directories", "Directories that something is remembered of.", s.Folders),
	}
}

// cacheMeasures are of the cache.
func cacheMeasures(s prefetch.Stats) []measure {
	return []measure{
		counter("fetches_total", "GETs started for the cache.", s.Fetches),
		counter("fetch_failures_total", "GETs that failed for good.", s.Failures),
		counter("fetched_bytes_total", "Bytes that landed in the cache.", s.FetchedBytes),
		counter("served_bytes_total", "Bytes that readers got from the cache.", s.ServedBytes),
		counter("cache_hits_total", "Reads that did not wait.", s.Hits),
		counter("cache_misses_total", "Reads that waited.", s.Misses),
		counter("cache_evictions_total", "Blocks whose memory was taken back.", s.Evictions),
		gauge("cache_blocks", "Blocks of 1 MiB in all.", s.BlocksTotal),
		gauge("cache_blocks_retained", "Blocks read and kept.", s.BlocksRetained),
		gauge("cache_blocks_unread", "Blocks fetched ahead and not yet read.", s.BlocksUnread),
		gauge("cache_blocks_in_flight", "Blocks being fetched.", s.BlocksInFlight),
		gauge("cache_blocks_free", "Blocks that hold nothing.", s.BlocksFree),
		gauge("cache_blocks_resident", "Blocks whose memory the node has given.", s.BlocksResident),
		gauge("cache_leases", "Leases of blocks that are being read.", s.Leases),
		gauge("active_fetches", "GETs under way.", s.ActiveFetches),
		gauge("concurrency", "GETs that may be under way.", s.Concurrency),
		gauge("cache_files", "Object versions known to the cache.", s.Files),
		gauge("streams", "Sequential streams recognised.", s.Streams),
		gauge("window_bytes", "Sum of the streams' windows.", s.WindowBytes),
	}
}

// storeMeasures are of the requests to S3.
func storeMeasures(s remote.Stats) []measure {
	all := []measure{
		counter("store_gets_total", "GET requests, each attempt counted.", s.Gets),
		counter("store_heads_total", "HEAD requests, each attempt counted.", s.Heads),
		counter("store_lists_total", "LIST requests, each attempt and page counted.", s.Lists),
		counter("store_retries_total", "Attempts after a request's first.", s.Retries),
		counter("store_stalls_total", "Requests replaced because they had gone silent.", s.Stalls),
		counter("store_bytes_total", "Bytes received.", s.Bytes),
		gauge("hidden_names", "Names that cannot be files and are left out.", s.Hidden),
	}
	for class, n := range s.Errors {
		all = append(all, counter("store_errors_total", "Attempts at a request that failed, by what kind of failure it was.", n).
			with("class", remote.ErrorClass(class).String()))
	}
	return all
}
