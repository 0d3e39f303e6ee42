package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"weightfs/cmd/cli"
	"weightfs/tests/lab"
	"weightfs/tests/proxy"
)

// head are the columns of a place's table.
func head() []string {
	return []string{"reader", "peer", "state", "seconds:", "lowest to highest:", "GB/s:", "of line rate:", "fetched:", "requests:", "peak memory:", "cache files:"}
}

// cells are the line in that table, of as many samples as runs or fewer.
func (l *line) cells(runs int) []string {
	names := []string{l.Reader, l.Peer}
	for i := range names {
		if names[i] != "" && l.Way != "" {
			names[i] += " (" + strings.TrimPrefix(l.Way, "RUNAI_STREAMER_") + ")"
			break
		}
	}
	cells := append(names, l.State)
	if l.Failure != "" {
		return append(cells, l.Failure, "–", "–", "–", "–", "–", "–", "–")
	}
	spread := fmt.Sprintf("%.2f to %.2f", slices.Min(l.Seconds), slices.Max(l.Seconds))
	if len(l.Seconds) < runs {
		spread += fmt.Sprintf(" (of %d)", len(l.Seconds))
	}
	return append(cells,
		fmt.Sprintf("%.2f", lab.Median(l.Seconds)), spread,
		fmt.Sprintf("%.2f", l.rate()/1e9), fmt.Sprintf("%.2f", l.ratio()), lab.Bytes.Format(float64(l.Fetched)), fmt.Sprint(l.Requests),
		lab.MemoryBytes.Format(float64(l.Memory)), lab.MemoryBytes.Format(float64(l.Cache)))
}

// table is what was measured, and what one must know to read it.
func (all *results) table() string {
	var b strings.Builder
	c, shape := all.c, proxy.S3Like()
	fmt.Fprintf(&b, "%s. One object of %s, medians of %d samples. S3-like: %v to the first byte, %d MB/s a connection, %d MB/s in all. "+
		"LIMIT, what a mount may keep, is %s, and %s where the object is \"twice the limit\"; s3fs has none, and keeps the whole object in its files. "+
		"Every load is timed from exec to exit: of it, starting and ending a Python that does nothing takes %.2f s, and one that imports numpy and safetensors %.2f s. "+
		"Cold: a new mount, an empty cache and a dropped page cache; warm: the same mount read again. What loads from the store itself keeps nothing, so that its next load is as cold as the first. "+
		"The line rate is a plain ranged-GET client's, the median of one before each row. Memory is the largest resident set of the mount's daemon, or of the loader; cache files, on tmpfs here and so in memory too, stand beside it. "+
		"A row that takes long has fewer samples, and a peer that took %v once no more. "+
		"Of the streamer's file engines and concurrencies the fastest counts, and is named.\n\n",
		lab.Machine(c.Began), cli.FormatSize(int64(c.opts.Size)), c.opts.Runs, shape.FirstByte, shape.PerConnection/1e6, shape.Total/1e6,
		cli.FormatSize(2*int64(c.opts.Size)), cli.FormatSize(int64(c.opts.Size)/2), all.empty, all.imports, sampleLimit)
	b.WriteString(lab.Table([]string{"peer", "version", "flags"}, all.peers))
	for _, p := range places() {
		fmt.Fprintf(&b, "\n## %s\n\n", p.name)
		if name, ok := p.plotName(); ok {
			fmt.Fprintf(&b, "![cold rates, of the line rate](peers/%s)\n\n", name)
		}
		var rows [][]string
		for _, l := range all.lines {
			if l.Place == p.name {
				rows = append(rows, l.cells(c.opts.Runs))
			}
		}
		b.WriteString(lab.Table(head(), rows))
	}
	return b.String()
}

// patternTable is what advice rests on: for each pattern the most that it could
// come to, and what it comes to through our mount.
func (all *results) patternTable() string {
	near, far := places()[0].name, places()[2].name
	var rows [][]string
	for _, r := range readers() {
		if r.pattern {
			row := []string{r.name, all.rate(near, localFile, r.name, warm)[0], all.rate(near, weightfs, r.name, warm)[0]}
			row = append(row, all.rate(near, weightfs, r.name, cold)...)
			rows = append(rows, append(row, all.rate(far, weightfs, r.name, cold)...))
		}
	}
	return fmt.Sprintf("GB/s, and the ratio to the line rate where the mount is cold. One object of %s, medians of %d samples, each from exec to exit. %s, by `make peers`.\n\n",
		cli.FormatSize(int64(all.c.opts.Size)), all.c.opts.Runs, lab.Machine(all.c.Began)) +
		lab.Table([]string{"pattern", localFile + ":", "mount, warm:", "mount, cold: loopback:", "of line rate:", "mount, cold: S3-like:", "of line rate:"}, rows)
}

// rate is a line's in GB/s and its ratio to the line rate, for two cells.
func (all *results) rate(place, peer, reader, state string) []string {
	for _, l := range all.lines {
		if l.Place == place && l.Peer == peer && l.Reader == reader && l.State == state && len(l.Seconds) > 0 {
			return []string{fmt.Sprintf("%.2f", l.rate()/1e9), fmt.Sprintf("%.2f", l.ratio())}
		}
	}
	return []string{"not measured", ""}
}

// plotName is of the place's plot, if it has one.
func (p place) plotName() (string, bool) {
	return strings.ToLower(p.name) + ".svg", !p.over
}

// plot draws the cold ratios of one place as bars.
func (all *results) plot(p place) string {
	var figures []lab.Figure
	for _, l := range all.lines {
		if l.Place != p.name || l.State != cold || len(l.Seconds) == 0 {
			continue
		}
		f := lab.Figure{Row: l.Peer, Spec: lab.Spec{Name: l.Reader, Unit: lab.Rate, Target: lab.AtLeast(0)}}
		for _, seconds := range l.Seconds {
			f.Pairs = append(f.Pairs, lab.Pair{Base: l.LineRate, Load: float64(l.Size) / seconds})
		}
		figures = append(figures, f)
	}
	return lab.Bars("Cold, of the line rate: "+p.name, figures)
}

// write puts the tables, the samples and the plots into the folder for results,
// and into the documents where their folder is named.
func (all *results) write(o lab.Settings) error {
	samples, err := json.MarshalIndent(all.lines, "", "  ")
	if err != nil {
		return err
	}
	table, patterns := all.table(), all.patternTable()
	fmt.Print("\n", table, "\n", patterns)
	plots := map[string]string{}
	for _, p := range places() {
		if name, ok := p.plotName(); ok {
			plots[name] = all.plot(p)
		}
	}
	texts := map[string]string{"table.md": table, "patterns.md": patterns, "results.json": string(samples)}
	if err := errors.Join(lab.WriteAll(o.Out, plots), lab.WriteAll(o.Out, texts)); err != nil || o.Docs == "" {
		return err
	}
	return errors.Join(
		lab.Publish(filepath.Join(o.Docs, "peers.md"), "peers", table, plots),
		lab.Publish(filepath.Join(o.Docs, "vllm.md"), "patterns", patterns, nil))
}
