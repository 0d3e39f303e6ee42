package monitor

import (
	"runtime"

	"weightfs/fs"
	"weightfs/prefetch"
	"weightfs/remote"
)

// measure is one number of a running mount, under one name wherever it is
// shown: status, its JSON and the metrics.
type measure struct {
	name    string
	help    string
	counter bool // grows only; otherwise a gauge
	value   int64
}

func counter(name, help string, value int64) measure {
	return measure{name: name, help: help, counter: true, value: value}
}

func gauge(name, help string, value int64) measure {
	return measure{name: name, help: help, value: value}
}

// measures are the numbers of the mount as of now.
func (m *Mount) measures() []measure {
	all := append(kernelMeasures(m.Server.Stats()), cacheMeasures(m.Cache.Stats())...)
	if store, ok := m.Store.(*remote.Retrying); ok {
		all = append(all, storeMeasures(store.Stats())...)
	}
	return append(all, gauge("goroutines", "Goroutines of the daemon.", int64(runtime.NumGoroutine())))
}

// kernelMeasures are of what the kernel asked.
func kernelMeasures(s fs.Stats) []measure {
	return []measure{
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
	return []measure{
		counter("store_gets_total", "GET requests, each attempt counted.", s.Gets),
		counter("store_heads_total", "HEAD requests, each attempt counted.", s.Heads),
		counter("store_lists_total", "LIST requests, each attempt and page counted.", s.Lists),
		counter("store_retries_total", "Attempts after a request's first.", s.Retries),
		counter("store_stalls_total", "Requests replaced because they had gone silent.", s.Stalls),
		counter("store_bytes_total", "Bytes received.", s.Bytes),
		gauge("hidden_names", "Names that cannot be files and are left out.", s.Hidden),
	}
}
