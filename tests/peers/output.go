package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"weightfs/cmd/cli"
	"weightfs/tests/bench/figure"
	"weightfs/tests/proxy"
)

// String is the line as a terminal shows it.
func (l *line) String() string {
	text := fmt.Sprintf("%-9s %-22s %-24s %-5s", l.Store, l.Peer, l.Reader, l.State)
	if l.Failure != "" {
		return text + " FAILED: " + l.Failure
	}
	return fmt.Sprintf("%s %7.2f s  %s  fetched %s  requests %d  memory %s  cache %s", text,
		figure.Median(l.Seconds), figure.Rate.Format(figure.Median(l.Rates)),
		figure.Bytes.Format(float64(l.Fetched)), l.Requests, figure.MemoryBytes.Format(float64(l.Memory)),
		figure.MemoryBytes.Format(float64(l.Cache)))
}

// tableLine is the line in the table of its store.
func (l *line) tableLine() string {
	if l.Failure != "" {
		return fmt.Sprintf("| %s | %s | %s | %s%s |\n", l.Reader, l.Peer, l.State, escape(l.Failure), strings.Repeat(" | –", 7))
	}
	return fmt.Sprintf("| %s | %s | %s | %.2f | %.2f to %.2f | %.2f | %.2f | %s | %d | %s | %s |\n", l.Reader, l.Peer, l.State,
		figure.Median(l.Seconds), slices.Min(l.Seconds), slices.Max(l.Seconds), figure.Median(l.Rates)/1e9, l.ratio(),
		figure.Bytes.Format(float64(l.Fetched)), l.Requests, figure.MemoryBytes.Format(float64(l.Memory)),
		figure.MemoryBytes.Format(float64(l.Cache)))
}

func escape(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "|", `\|`)), " ")
}

// table is what was measured, and what one must know to read it.
func (all *results) table() string {
	var b strings.Builder
	o, shape := all.lab.opts, proxy.S3Like()
	fmt.Fprintf(&b, "%s, %d cores, %s. One object of %s, medians of %d samples. S3-like: %v to the first byte, %d MB/s a connection, %d MB/s in all. "+
		"Cold: a new mount, an empty cache and a dropped page cache; warm: the same mount read again, and of copy-then-load its copy, in the page cache of a disk's file; what loads from the store itself keeps nothing, so that its next load is as cold as the first. As much memory as a cold sample takes is touched before it. The server's files and the peers' caches lie on tmpfs, copies on a disk. "+
		"The line rate is a plain ranged-GET client's, taken before each sample: the median of them all for each store. Memory is the largest resident set of the mount's daemon, or of the loader; cache files, on tmpfs here and so in memory too, are not in it, and stand beside it.\n\n",
		all.lab.began.UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), cli.FormatSize(int64(o.size)), o.runs,
		shape.FirstByte, shape.PerConnection/1e6, shape.Total/1e6)
	b.WriteString("| peer | version | flags |\n| --- | --- | --- |\n")
	for _, p := range all.peers {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", p.Name, escape(p.Version), p.Flags)
	}
	for _, s := range stores() {
		all.storeTable(&b, s)
	}
	return b.String()
}

func (all *results) storeTable(b *strings.Builder, s store) {
	fmt.Fprintf(b, "\n#### %s\n\n![cold rates, of the line rate](benchmarks/%s)\n\n| reader | peer | state | seconds | lowest to highest | GB/s | of line rate | fetched | requests | peak memory | cache files |\n"+
		"| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n", s.name, s.plotFile())
	for _, l := range all.lines {
		if l.Store == s.name {
			b.WriteString(l.tableLine())
		}
	}
}

// patternTable is what advice rests on: for each pattern the most that it could
// come to, and what it comes to through our mount.
func (all *results) patternTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "GB/s, and the ratio to the line rate where the mount is cold. One object of %s, %d cores, medians of %d samples, by `make peers`.\n\n"+
		"| pattern | local file, on tmpfs | mount, warm | mount, cold: loopback | of line rate | mount, cold: S3-like | of line rate |\n"+
		"| --- | --: | --: | --: | --: | --: | --: |\n", cli.FormatSize(int64(all.lab.opts.size)), runtime.NumCPU(), all.lab.opts.runs)
	near, far := stores()[0].name, stores()[1].name
	for _, r := range readers() {
		if !r.pattern {
			continue
		}
		cells := []string{
			all.rate(near, localFile, r.name, warm), all.rate(near, weightfs, r.name, warm),
			all.rate(near, weightfs, r.name, cold), all.ratio(near, weightfs, r.name),
			all.rate(far, weightfs, r.name, cold), all.ratio(far, weightfs, r.name),
		}
		fmt.Fprintf(&b, "| %s | %s |\n", r.name, strings.Join(cells, " | "))
	}
	return b.String()
}

// find returns the line of that name, or nil.
func (all *results) find(store, peer, reader, state string) *line {
	for _, l := range all.lines {
		if l.Store == store && l.Peer == peer && l.Reader == reader && l.State == state && len(l.Rates) > 0 {
			return l
		}
	}
	return nil
}

// rate is a line's in GB/s, for a cell.
func (all *results) rate(store, peer, reader, state string) string {
	if l := all.find(store, peer, reader, state); l != nil {
		return fmt.Sprintf("%.2f", figure.Median(l.Rates)/1e9)
	}
	return "not measured"
}

// ratio is a cold line's to the line rate, for a cell.
func (all *results) ratio(store, peer, reader string) string {
	if l := all.find(store, peer, reader, cold); l != nil {
		return fmt.Sprintf("%.2f", l.ratio())
	}
	return ""
}

// plotFile is the name of the store's plot.
func (s store) plotFile() string { return "peers-" + strings.ToLower(s.name) + ".svg" }

// plot draws the cold ratios of one store as bars.
func (all *results) plot(s store) string {
	var figures []figure.Figure
	for _, l := range all.lines {
		if l.Store != s.name || l.State != cold || len(l.Rates) == 0 {
			continue
		}
		f := figure.Figure{Row: l.Peer, Spec: figure.Spec{Name: l.Reader, Unit: figure.Rate, Target: figure.AtLeast(0)}}
		for _, rate := range l.Rates {
			f.Pairs = append(f.Pairs, figure.Pair{Base: l.Line, Load: rate})
		}
		figures = append(figures, f)
	}
	return figure.Bars("Cold, of the line rate: "+s.name, figures)
}
