package main

import (
	"fmt"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// What rows say of their state.
const (
	cold     = "cold: a new mountd and mount for each sample"
	hasty    = "cold: a new mountd and mount for each sample, read at once"
	coldPage = "cold: new mount; file evicted from the page cache, checked by mincore"
	held     = "warm: read once before, O_DIRECT, so that the daemon holds it"
	paged    = "warm: read before, and mincore finds every page in the page cache"
	straight = "cold: nothing is cached on the way"
	lone     = "new mount for each sample; file read before, and mincore finds every page in the page cache"
)

// rows are all comparisons with their targets, in the order of the table.
// far is the shape of the distant store.
func rows(far proxy.Shape) []row {
	var all []row
	all = append(all, loopbackRows()...)
	all = append(all, warmRows()...)
	all = append(all, localRows()...)
	all = append(all, unprivilegedRows()...)
	all = append(all, gpuloadRows()...)
	all = append(all, distantRows(far)...)
	all = append(all, patternRows(far)...)
	all = append(all, listingRows()...)
	return append(all, memoryRows()...)
}

// against is a row of one figure, a rate.
func against(baseline, name, state string, base, load sample, target lab.Target) row {
	return row{name: name, state: state, base: base, load: load, compare: []comparison{rates(baseline, target)}}
}

// inBrief is r as a brief row.
func inBrief(r row) row {
	r.brief = true
	r.state += fmt.Sprintf("; %d times as many samples", briefRuns)
	return r
}

// The baselines, as the table calls them.
const (
	clientR = "R"
	localN  = "N, on disk"
	smallN  = "N, in pages of 4 KiB"
	onceN   = "N, in pages of 4 KiB used once"
	twiceN  = "N, in pages of 4 KiB used twice"
	bareF   = "F"
)

// loopbackRows have server, daemon and reader on the same cores.
func loopbackRows() []row {
	r := plainClient(loopback, one(), 16, workload.Nowhere)
	plain := func(name string, how readers, bound float64) row {
		return against(clientR, "loopback: "+name, cold, r, coldRead(mountSpec{}, one(), how), lab.AtLeast(bound))
	}
	return []row{
		plain("dd bs=1M", dd, 0.50),
		against(clientR, "loopback: dd bs=1M, mounted just now", hasty, r,
			coldRead(mountSpec{hasty: true}, one(), dd), lab.Target{}),
		plain("16 readers of one file, sixteenths by 2 MiB", buffered(16), 0.50),
		plain("1 thread copies a mapping", mapped(1), 0.45),
		plain("8 threads copy a mapping", mapped(8), 0.45),
		plain("8 readers, O_DIRECT, eighths by 8 MiB", direct(8), 0.70),
		plain("8 readers, O_DIRECT, 8 MiB in turns", inTurns(8, workload.Nowhere, 0), 0.70),
		against("R over TLS", "TLS: dd bs=1M", cold, plainClient(overTLS, one(), 16, workload.Nowhere),
			coldRead(mountSpec{where: overTLS}, one(), dd), lab.AtLeast(0.50)),
		against(clientR, "loopback: dd bs=1M, limit 64 MiB", cold, r,
			coldRead(mountSpec{flags: []string{"--memory-limit=64Mi"}}, one(), dd), lab.AtLeast(0.35)),
		{
			name: "loopback: two processes read one object, buffered", state: cold,
			load:    sized(one(), coldRead(mountSpec{}, one(), twice(buffered(1)))),
			compare: []comparison{fetchedOfSize(lab.AtMost(1.02))},
		},
		{
			name: "loopback: two processes read one object, O_DIRECT", state: cold,
			load:    sized(one(), coldRead(mountSpec{}, one(), twice(direct(1)))),
			compare: []comparison{fetchedOfSize(lab.AtMost(1.02))},
		},
	}
}

// warmRows are second reads, and third ones. The page cache of FUSE has pages of
// 4 KiB, and so has that of tmpfs; the larger ones of a file on disk are read two
// to three times as fast, which is printed, as is what go-fuse alone gets. A
// second read is beside one of pages that have been used as often.
func warmRows() []row {
	again := func(name string, how readers) []row {
		second, third := warmRead(mountSpec{}, one(), how, how, fill), warmRead(mountSpec{}, one(), how, how, how, fill)
		unread := func(r row) row {
			r.compare = append(r.compare, noREADs())
			return inBrief(r)
		}
		return []row{
			unread(against(onceN, "loopback: second "+name, paged, freshCopy(one(), how), second, lab.AtLeast(0.90))),
			unread(against(twiceN, "loopback: third "+name, paged, freshCopy(one(), how, how), third, lab.AtLeast(0.90))),
			against(smallN, "loopback: second "+name+", pages used often", paged, smallPages(one(), how), second, lab.Target{}),
			against(smallN, "loopback: third "+name+", pages used often", paged, smallPages(one(), how), third, lab.Target{}),
			against(localN, "loopback: second "+name+", a file on disk", paged, localRead(one(), true, how), second, lab.Target{}),
			against(bareF, "loopback: second "+name+", go-fuse alone", paged, bareFuse(one(), how, how, fill), second, lab.Target{}),
			against(bareF, "loopback: third "+name+", go-fuse alone", paged, bareFuse(one(), how, how, how, fill), third, lab.Target{}),
		}
	}
	all := []row{
		against(bareF, "loopback: 8 readers, O_DIRECT, held by the daemon", held, bareFuse(one(), direct(8), direct(8)),
			warmRead(mountSpec{}, one(), direct(8), direct(8)), lab.AtLeast(0.80)),
	}
	all = append(all, again("dd bs=1M", dd)...)
	return append(all, again("mapping, 1 thread", mapped(1))...)
}

// localRows have a local folder as the source.
func localRows() []row {
	both := func(name string, how readers) []row {
		return []row{
			inBrief(against(localN, "local folder, warm: "+name, lone,
				localRead(one(), true, how), folderRead(one(), true, how), lab.AtLeast(0.90))),
			against("N, on disk, cold", "local folder, cold: "+name, coldPage,
				localRead(one(), false, how), folderRead(one(), false, how), lab.AtLeast(0.90)),
		}
	}
	return append(both("dd bs=1M", dd), both("8 threads copy a mapping", mapped(8))...)
}

// unprivilegedRows are what a mount without root gets: the kernel's own
// readahead, and no passthrough.
func unprivilegedRows() []row {
	r := plainClient(loopback, one(), 16, workload.Nowhere)
	small := func(name string, how readers) row {
		return against(clientR, "readahead 128 KiB: "+name, cold, r,
			coldRead(mountSpec{readAhead: 128 << 10}, one(), how), lab.Target{})
	}
	daemon := func(name string, how readers) row {
		return against(localN, "local folder, no passthrough, readahead 128 KiB: "+name, lone,
			localRead(one(), true, how), unprivilegedRead(one(), how), lab.Target{})
	}
	return []row{
		small("dd bs=1M", dd),
		small("16 readers of one file, sixteenths by 2 MiB", buffered(16)),
		small("1 thread copies a mapping", mapped(1)),
		small("8 threads copy a mapping", mapped(8)),
		daemon("dd bs=1M", dd),
		daemon("16 readers of one file, sixteenths by 2 MiB", buffered(16)),
		daemon("8 threads copy a mapping", mapped(8)),
	}
}

// gpuloadRows load onto the CPU device, whose memory is fresh at each load. Where
// the baseline with a target has touched its memory before, or copies nothing,
// another row has the same beside one that copies to fresh memory; a local file
// has it the other way round, since there no program that gets its memory from
// the kernel comes near one that had it before, which a row of its own shows.
func gpuloadRows() []row {
	return []row{
		against("R and a copy", "gpuload: directly from S3", straight,
			plainClient(loopback, one(), 16, workload.Touched), gpuload(loopback, one()), lab.AtLeast(0.90)),
		against("R and a copy to fresh memory", "gpuload: directly from S3, fresh memory on both sides", straight,
			plainClient(loopback, one(), 16, workload.Fresh), gpuload(loopback, one()), lab.Target{}),
		against("8 readers, O_DIRECT, 8 MiB in turns", "gpuload: through the mount", cold,
			coldRead(mountSpec{}, one(), inTurns(8, workload.Nowhere, 0)), gpuloadMounted(mountSpec{}, one()), lab.AtLeast(0.85)),
		against("8 readers, O_DIRECT, 8 MiB in turns, and a copy to fresh memory", "gpuload: through the mount, fresh memory on both sides", cold,
			mountedReadAndCopy(mountSpec{}, one(), workload.Fresh), gpuloadMounted(mountSpec{}, one()), lab.Target{}),
		inBrief(against("parallel read and copy", "gpuload: a local file", paged,
			readAndCopy(one(), workload.Fresh), gpuload(folder, one()), lab.AtLeast(0.85))),
		inBrief(against("parallel read and copy to memory touched before", "gpuload: a local file, beside memory touched before", paged,
			readAndCopy(one(), workload.Touched), gpuload(folder, one()), lab.Target{})),
		inBrief(against("parallel read and copy to memory touched before", "parallel read and copy", paged,
			readAndCopy(one(), workload.Touched), readAndCopy(one(), workload.Fresh), lab.Target{})),
		against("memory limit -1", "gpuload: a local file, memory limit 0", paged,
			gpuload(folder, one(), "--memory-limit=-1"), gpuload(folder, one(), "--memory-limit=0"), lab.AtLeast(0.80)),
		against("Python's json of the header", "gpuload inspect: 100,000 tensors", paged,
			headerBy(pythonJSON), headerBy(inspectJSON), lab.AtLeast(0.80)),
	}
}

// distantRows are before a store that looks like S3, with default flags.
func distantRows(far proxy.Shape) []row {
	spec := mountSpec{where: distant}
	full := lineTarget(far)
	rate := func(name string, load sample, target lab.Target) row {
		return row{name: "S3-like: " + name, state: cold, load: load, compare: []comparison{ofStore(far, target)}}
	}
	client := func(connections int) row {
		r := rate(fmt.Sprintf("plain client, %d connections", connections),
			plainClient(distant, two(), connections, workload.Nowhere), lab.Target{})
		r.state = straight
		return r
	}
	return []row{
		client(16),
		client(32),
		rate("1 reader, buffered", coldRead(spec, two(), buffered(1)), full),
		rate("1 thread copies a mapping", coldRead(spec, two(), mapped(1)), full),
		rate("16 readers of one file", coldRead(spec, two(), buffered(16)), full),
		rate("4 files by 4 processes", coldRead(spec, shards(), buffered(1)), full),
		rate("4 shards one after the other, safe_open", safeOpen(spec, shards()), lab.AtLeast(0.88)),
		sweepRow(far),
	}
}

// lineTarget is how much of a distant store's rate the rows must reach: less of
// one that is not of the default shape, which takes many cores.
func lineTarget(far proxy.Shape) lab.Target {
	if far != proxy.S3Like() {
		return lab.AtLeast(0.85)
	}
	return lab.AtLeast(0.90)
}

// sweepName is the name of the row that is plotted.
const sweepName = "S3-like: concurrency"

// sweepRow compares fixed concurrencies with each other and the default.
func sweepRow(far proxy.Shape) row {
	r := row{name: sweepName, state: cold, load: sweep}
	for _, n := range sweepSteps() {
		r.compare = append(r.compare, value(fmt.Sprint(n), sweepBest, lab.Rate, lab.Target{}))
	}
	best := value(sweepBest, "", lab.Rate, lineTarget(far))
	best.Baseline = "the store's limit"
	best.pair = func(_, load outcome) lab.Pair {
		return lab.Pair{Base: float64(far.Total), Load: load.values[sweepBest]}
	}
	r.compare = append(r.compare, best, value(sweepAdaptive, sweepBest, lab.Rate, lab.AtLeast(0.95)))
	return r
}

// patternRows are of how much is fetched, and how soon the first bytes come.
func patternRows(far proxy.Shape) []row {
	spec := mountSpec{where: distant}
	parallel := func(name string, columns bool) row {
		return row{
			name: "S3-like: tensor parallel, " + name, state: cold, load: tensorParallel(columns),
			compare: []comparison{fetchedOfSize(lab.AtMost(1.1)), ofStore(far, lab.Target{})},
		}
	}
	return []row{
		parallel("by rows", false),
		parallel("by columns", true),
		{
			name: "S3-like: expert parallel, 1 tensor of 8", state: cold, load: coldRead(spec, two(), skipping),
			compare: []comparison{fetchedOfAsked(lab.AtMost(1.3)), ofStore(far, lab.Target{})},
		},
		{
			name: "S3-like: header of a file, folders listed", state: cold + ", which has been listed",
			load: headerRead(true), compare: []comparison{roundTrips(far, lab.AtMost(1.5))},
		},
		{
			name: "S3-like: header of a file, two folders not listed", state: cold,
			load: headerRead(false), compare: []comparison{roundTrips(far, lab.AtMost(3.5))},
		},
		{
			name: "S3-like: 1,000 random reads of 128 KiB, 8 threads", state: cold, load: coldRead(spec, two(), random),
			compare: []comparison{latency("median latency", 0.5, far, lab.AtMost(1.4)), latency("99th percentile", 0.99, far, lab.Target{}), fetchedOfAsked(lab.AtMost(8))},
		},
	}
}

// listingRows are of names and attributes.
func listingRows() []row {
	find := func(name string, where store, bound float64) row {
		return row{
			name: name + ": find -printf %s, 100,000 objects in 1,000 folders", state: cold,
			base: listClient(where, manyFolders()), load: findTree(where, manyFolders()),
			compare: []comparison{
				seconds("the plain client", lab.AtMost(bound)),
				value(perFileValue, "", lab.Count, lab.AtMost(0)),
				value(againValue, "", lab.Count, lab.AtMost(0)),
			},
		}
	}
	return []row{
		find("loopback", loopback, 1.25),
		find("S3-like", distant, 0.25),
		{
			name: "loopback: a folder of 20,000 entries", state: cold, load: namesOf(oneFolder()),
			compare: []comparison{value(listedValue, objectsValue, lab.Count, lab.AtLeast(1))},
		},
	}
}

// memoryRows hold the cap and what it promises.
func memoryRows() []row {
	all := []row{
		{
			name: "memory: a limit that is too small", state: "", load: tooSmall,
			compare: []comparison{value(refusedValue, "", lab.Count, lab.AtLeast(1))},
		},
		{
			name: "memory: model B, read twice after model A three times", state: "O_DIRECT; the cache holds one and a half models",
			load: retained, compare: []comparison{fetchedOfSize(lab.AtMost(0.02))},
		},
	}
	for _, limit := range []int64{64, 256, 4096} {
		all = append(all,
			pressureRow(fmt.Sprintf("memory: limit %d MiB, in a cgroup of 192 MiB more", limit), pressure(limit*mib, 1, true)),
			pressureRow(fmt.Sprintf("memory: limit %d MiB, two mounts at once", limit), pressure(limit*mib, 2, false)))
	}
	return all
}

// pressureRow is 64 readers on 8 files: one run, of hundreds of samples, since
// five of a minute each would take half an hour for the six rows.
func pressureRow(name string, load sample) row {
	return row{
		name: name, load: load, once: true,
		state: "one run, its memory sampled every 100 ms: 64 buffered readers of 8 files, whose page cache is bounded to 512 MiB",
		compare: []comparison{
			value(residentValue, promiseValue, lab.MemoryBytes, lab.AtMost(1)),
			value(chargeValue, promiseValue, lab.MemoryBytes, lab.AtMost(1)),
			value(sequentialValue, medianSeqValue, lab.Bytes, lab.AtLeast(0.25)),
			value(randomValue, medianRandValue, lab.Bytes, lab.AtLeast(0.25)),
			value(leasesValue, "", lab.Count, lab.AtMost(0)),
		},
	}
}
