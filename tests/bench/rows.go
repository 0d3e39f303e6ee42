package main

import (
	"fmt"

	"weightfs/tests/bench/workload"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// What rows say of their state.
const (
	cold    = "cold"               // a new mountd and mount for each sample
	hasty   = "cold, read at once" // and mountd still touches its memory
	evicted = "cold disk"          // a new mount; the file was evicted, as mincore says
	held    = "held by mountd"     // read once before by O_DIRECT
	paged   = "in the page cache"  // read before, and mincore finds every page
	direct  = "nothing between"    // nothing is cached on the way
)

// rows are all comparisons with their targets, in the order of the table.
// far is the shape of the even distant store.
func rows(far proxy.Shape) []row {
	var all []row
	all = append(all, loopbackRows()...)
	all = append(all, warmRows()...)
	all = append(all, localRows()...)
	all = append(all, unprivilegedRows()...)
	all = append(all, gpuloadRows()...)
	for _, p := range profiles(far) {
		all = append(all, distantRows(p)...)
		all = append(all, patternRows(p)...)
	}
	all = append(all, listingRows(far)...)
	return append(all, memoryRows()...)
}

// against is a row of one figure, a rate. What is only printed takes few samples.
func against(baseline, name, state string, base, load sample, target lab.Target) row {
	r := row{name: name, state: state, base: base, load: load, compare: []comparison{rates(baseline, target)}}
	if target == (lab.Target{}) {
		r.effort = few
	}
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
	r := bestOf(plainClient(loopback, workload.Nowhere, false))
	plain := func(name, state string, spec mountSpec, how readers, target lab.Target) row {
		return against(clientR, "loopback: "+name, state, r, read(spec, one(), how), target)
	}
	two := func(name string, how readers) row {
		return row{
			name: "loopback: two processes read one object, " + name, state: cold, effort: few,
			load:    read(mountSpec{}, one(), twice(how)),
			compare: []comparison{fetchedOf("size", size, 1.02)},
		}
	}
	return []row{
		plain("dd bs=1M", cold, mountSpec{}, dd, lab.AtLeast(0.50)),
		plain("dd bs=1M, mounted just now", hasty, mountSpec{hasty: true}, dd, lab.Target{}),
		plain("16 readers of one file, sixteenths by 2 MiB", cold, mountSpec{}, buffered(16), lab.AtLeast(0.50)),
		plain("1 thread copies a mapping", cold, mountSpec{}, mapped(1), lab.AtLeast(0.45)),
		plain("8 threads copy a mapping", cold, mountSpec{}, mapped(8), lab.AtLeast(0.45)),
		plain("8 readers, O_DIRECT, eighths by 8 MiB", cold, mountSpec{}, eighths(8), lab.AtLeast(0.70)),
		plain("8 readers, O_DIRECT, 8 MiB in turns", cold, mountSpec{}, inTurns(8, workload.Nowhere), lab.AtLeast(0.70)),
		against("R over TLS", "TLS: dd bs=1M", cold, bestOf(plainClient(overTLS, workload.Nowhere, false)),
			read(mountSpec{where: overTLS}, one(), dd), lab.AtLeast(0.50)),
		plain("dd bs=1M, limit 64 MiB", cold, mountSpec{flags: []string{"--memory-limit=64Mi"}}, dd, lab.AtLeast(0.35)),
		two("buffered", buffered(1)),
		two("O_DIRECT", eighths(1)),
	}
}

// warmRows are second reads, and third ones. The page cache of FUSE has pages of
// 4 KiB, and so has that of tmpfs; the larger ones of a file on disk are read two
// to three times as fast, which is printed, as is what go-fuse alone gets. A
// second read is beside one of pages that have been used as often.
func warmRows() []row {
	again := func(name string, how readers) []row {
		second, third := read(mountSpec{}, one(), how, how, fill), read(mountSpec{}, one(), how, how, how, fill)
		unread := func(r row) row {
			r.compare, r.effort = append(r.compare, zero("READs", reads)), many
			return r
		}
		beside := func(baseline, name string, base, load sample) row {
			return against(baseline, "loopback: "+name, paged, base, load, lab.Target{})
		}
		return []row{
			unread(against(onceN, "loopback: second "+name, paged, readAt(loopback, one(), copied, how), second, lab.AtLeast(0.90))),
			unread(against(twiceN, "loopback: third "+name, paged, readAt(loopback, one(), copied, how, how), third, lab.AtLeast(0.90))),
			beside(smallN, "third "+name+", pages used often", readAt(loopback, one(), served, how), third),
			beside(localN, "second "+name+", a file on disk", readAt(folder, one(), onDisk(true), how), second),
			beside(bareF, "second "+name+", go-fuse alone", readAt(loopback, one(), bare, how, how, fill), second),
		}
	}
	heldBy := read(mountSpec{}, one(), eighths(8), eighths(8))
	all := []row{
		against(bareF, "loopback: 8 readers, O_DIRECT, held by the daemon", held, readAt(loopback, one(), bare, eighths(8), eighths(8)),
			heldBy, lab.AtLeast(0.80)),
		against(smallN+", buffered", "loopback: 8 readers, O_DIRECT, held by the daemon, beside the page cache", held,
			readAt(loopback, one(), served, single(workload.Read{Way: workload.Buffered, Threads: 8, Block: 8 * mib})), heldBy, lab.Target{}),
	}
	all = append(all, again("dd bs=1M", dd)...)
	return append(all, again("mapping, 1 thread", mapped(1))...)
}

// localRows have a local folder as the source.
func localRows() []row {
	both := func(name string, how readers) []row {
		warm := against(localN, "local folder, warm: "+name, paged,
			readAt(folder, one(), onDisk(true), how), readAt(folder, one(), throughMount(true), how), lab.AtLeast(0.90))
		warm.effort = many
		return []row{warm, against("N, on disk, cold", "local folder, cold: "+name, evicted,
			readAt(folder, one(), onDisk(false), how), readAt(folder, one(), throughMount(false), how), lab.AtLeast(0.90))}
	}
	return append(both("dd bs=1M", dd), both("8 threads copy a mapping", mapped(8))...)
}

// unprivilegedRows are what a mount without root gets: the kernel's own
// readahead, and no passthrough.
func unprivilegedRows() []row {
	r := bestOf(plainClient(loopback, workload.Nowhere, false))
	near := func(name string, how readers) row {
		return against(clientR, "readahead 128 KiB: "+name, cold, r, read(mountSpec{readAhead: 128 << 10}, one(), how), lab.Target{})
	}
	folder := func(name string, how readers) row {
		return against(localN, "local folder, no passthrough, readahead 128 KiB: "+name, paged,
			readAt(folder, one(), onDisk(true), how), readAt(folder, one(), inOrder(onDisk(true), unprivileged), how), lab.Target{})
	}
	return []row{
		near("dd bs=1M", dd), near("1 thread copies a mapping", mapped(1)),
		folder("dd bs=1M", dd), folder("8 threads copy a mapping", mapped(8)),
	}
}

// gpuloadRows load onto the CPU device, whose memory is fresh at each load.
// gpuload is timed from exec to exit. The baselines of the rows from S3 and
// through the mount with a target are timed from a signal that finds them ready,
// and have touched their memory before or copy nothing: what gpuload can lose
// only. Other rows have the same clock and fresh memory on both sides.
func gpuloadRows() []row {
	fromS3, mounted := gpuload(loopback, one()), read(mountSpec{}, one(), loader())
	local := gpuload(folder, one())
	beside := func(baseline, name, state string, base, load sample) row {
		return against(baseline, "gpuload: "+name, state, base, load, lab.Target{})
	}
	files := against("parallel read and copy, exec to exit", "gpuload: a local file", paged,
		bestOf(readAndCopy(workload.Fresh, true)), local, lab.AtLeast(0.85))
	files.effort = many
	return []row{
		against("R and a copy", "gpuload: directly from S3", direct,
			bestOf(plainClient(loopback, workload.Touched, false)), fromS3, lab.AtLeast(0.90)),
		beside("R and a copy to fresh memory, exec to exit", "directly from S3, one clock", direct,
			bestOf(plainClient(loopback, workload.Fresh, true)), fromS3),
		against("readers, O_DIRECT, 8 MiB in turns", "gpuload: through the mount", cold,
			bestOf(mountedTurns(workload.Nowhere, false)), mounted, lab.AtLeast(0.85)),
		beside("the same and a copy to fresh memory, exec to exit", "through the mount, one clock", cold,
			bestOf(mountedTurns(workload.Fresh, true)), mounted),
		files,
		beside("parallel read and copy to memory touched before", "a local file, beside memory touched before", paged,
			bestOf(readAndCopy(workload.Touched, false)), local),
		against("memory limit -1", "gpuload: a local file, memory limit 0", paged,
			gpuload(folder, one(), "--memory-limit=-1"), gpuload(folder, one(), "--memory-limit=0"), lab.AtLeast(0.80)),
		against("Python's json of the header", "gpuload inspect: 100,000 tensors", paged,
			headerBy(pythonJSON), headerBy(inspectJSON), lab.AtLeast(0.80)),
	}
}

// profile is one kind of distant store.
type profile struct {
	where store
	shape proxy.Shape
}

// even says whether the store has no tail. What is promised of its limit and its
// round trip, which a store with a tail does not have, is printed before that.
func (p profile) even() bool { return p.where == distant }

// ifEven is a target for the even store alone.
func (p profile) ifEven(t lab.Target) lab.Target {
	if p.even() {
		return t
	}
	return lab.Target{}
}

// effort is that of the long rows, which are not repeated before a second store.
func (p profile) effort() effort {
	if p.even() {
		return few
	}
	return lone
}

// profiles are the distant stores: the same one, even and with a tail.
func profiles(far proxy.Shape) []profile {
	tail := far
	tail.Tail = proxy.S3LikeTail().Tail
	return []profile{{distant, far}, {uneven, tail}}
}

// ofLimit compares bytes per second with what the store gives at most.
func (p profile) ofLimit(target lab.Target) comparison {
	return of("of the line", lab.Rate, "the store's limit", p.ifEven(target), constant(float64(p.shape.Total)), rate)
}

// trips compares a number of seconds with the store's median time to the first
// byte.
func (p profile) trips(name string, target lab.Target, number func(outcome) float64) comparison {
	return of(name, lab.Time, "a round trip", p.ifEven(target), constant(p.shape.FirstByte.Seconds()), number)
}

// distantRows are before a store that looks like S3, with default flags.
func distantRows(p profile) []row {
	spec := mountSpec{where: p.where}
	r := bestOf(plainClient(p.where, workload.Nowhere, false))
	reached := func(name string, load sample, target lab.Target) row {
		return row{
			name: p.where.String() + ": " + name, state: cold, effort: few, base: r, load: load,
			compare: []comparison{rates(clientR, target), p.ofLimit(target)},
		}
	}
	full := lineTarget(p.shape)
	return []row{
		reached("1 reader, buffered", read(spec, two(), buffered(1)), full),
		reached("1 thread copies a mapping", read(spec, two(), mapped(1)), full),
		reached("16 readers of one file", read(spec, two(), buffered(16)), full),
		reached("4 files by 4 processes", read(spec, shards(), buffered(1)), full),
		reached("4 shards one after the other, safe_open", read(spec, shards(), safeOpen), lab.AtLeast(0.88)),
		concurrencyRow(p),
	}
}

// lineTarget is how much of a distant store's rate the rows must reach: less of
// one that is not of the default shape, which takes many cores.
func lineTarget(far proxy.Shape) lab.Target {
	if far.PerConnection != proxy.S3Like().PerConnection || far.Total != proxy.S3Like().Total {
		return lab.AtLeast(0.85)
	}
	return lab.AtLeast(0.90)
}

// concurrencySuffix ends the names of the rows that are plotted.
const concurrencySuffix = ": concurrency"

// concurrencyRow compares fixed concurrencies with each other and the default.
func concurrencyRow(p profile) row {
	r := row{name: p.where.String() + concurrencySuffix, state: cold, effort: p.effort(), load: concurrencies(p.where)}
	for _, n := range fixedConcurrencies() {
		r.compare = append(r.compare, value(fmt.Sprint(n), bestFixed, lab.Rate, lab.Target{}))
	}
	r.compare = append(r.compare,
		of(bestFixed, lab.Rate, "the store's limit", p.ifEven(lineTarget(p.shape)), constant(float64(p.shape.Total)), named(bestFixed)),
		value(adaptive, bestFixed, lab.Rate, p.ifEven(lab.AtLeast(0.95))))
	return r
}

// patternRows are of how much is fetched, and how soon the first bytes come.
func patternRows(p profile) []row {
	spec := mountSpec{where: p.where}
	some := func(name, state string, load sample, compare ...comparison) row {
		return row{name: p.where.String() + ": " + name, state: state, effort: p.effort(), load: load, compare: compare}
	}
	once := fetchedOf("size", size, 1.1)
	return []row{
		some("tensor parallel, by rows", cold, tensorParallel(p.where, false), once, p.ofLimit(lab.Target{})),
		some("tensor parallel, by columns", cold, tensorParallel(p.where, true), once, p.ofLimit(lab.Target{})),
		some("expert parallel, 1 tensor of 8", cold, read(spec, two(), skipping),
			fetchedOf("asked for", asked, 1.3), p.ofLimit(lab.Target{})),
		some("header of a file, folders listed", "cold, listed", headerRead(p.where, true), p.trips("", lab.AtMost(1.5), seconds)),
		some("header of a file, two folders not listed", cold, headerRead(p.where, false), p.trips("", lab.AtMost(3.5), seconds)),
		some("1,000 random reads of 128 KiB, 8 threads", cold, read(spec, two(), random),
			p.trips("median latency", lab.AtMost(1.4), latency(0.5)), p.trips("99th percentile", lab.Target{}, latency(0.99)),
			fetchedOf("asked for", asked, 8)),
	}
}

// listingRows are of names and attributes.
func listingRows(far proxy.Shape) []row {
	find := func(where store, most float64) row {
		return row{
			name: where.String() + ": find -printf %s, 100,000 objects in 1,000 folders", state: cold, effort: few,
			base: bestOf(listers(where)), load: findTree(where, manyFolders()),
			compare: []comparison{
				ofBase("time", lab.Time, "the best plain listing", lab.AtMost(most), seconds),
				zero("requests for files", named(perFileValue)), zero("requests of a second find", named(againValue)),
			},
		}
	}
	all := []row{find(loopback, 1.25)}
	for _, p := range profiles(far) {
		all = append(all, find(p.where, 0.25))
	}
	return append(all, row{
		name: "loopback: a folder of 20,000 entries", state: cold, effort: few, load: namesOf(oneFolder()),
		compare: []comparison{value("names", "objects", lab.Count, lab.AtLeast(1))},
	})
}

// memoryRows hold the cap and what it promises.
func memoryRows() []row {
	all := []row{
		{
			name: "memory: a limit that is too small", effort: lone, load: tooSmall,
			compare: []comparison{of(refusedValue, lab.Count, "1", lab.AtLeast(1), constant(1), named(refusedValue))},
		},
		{
			name: "memory: model B, read twice after model A three times", state: "O_DIRECT, room for 1.5 models", effort: few,
			load: retained, compare: []comparison{fetchedOf("size", size, 0.02)},
		},
	}
	for _, limit := range []int64{64, 256, 4096} {
		all = append(all, pressureRow(fmt.Sprintf("memory: limit %d MiB, in a cgroup of 192 MiB more", limit), pressure(limit*mib, 1, true)))
	}
	for _, limit := range []int64{64, 4096} {
		all = append(all, pressureRow(fmt.Sprintf("memory: limit %d MiB, two mounts at once", limit), pressure(limit*mib, 2, false)))
	}
	return all
}

// pressureRow is 64 readers on 8 files: one run, of hundreds of samples.
func pressureRow(name string, load sample) row {
	return row{
		name: name, load: load, effort: lone, state: "one run",
		compare: []comparison{
			value(residentValue, promiseValue, lab.MemoryBytes, lab.AtMost(1)),
			value(chargeValue, promiseValue, lab.MemoryBytes, lab.AtMost(1)),
			value(sequentialValue, medianSeqValue, lab.Bytes, lab.AtLeast(0.25)),
			value(randomValue, medianRandValue, lab.Bytes, lab.AtLeast(0.25)),
			zero(leasesValue, named(leasesValue)),
		},
	}
}
