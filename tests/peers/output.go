package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	return fmt.Sprintf("%s %7.2f s  %s  ratio %.2f  fetched %s  requests %d  memory %s", text,
		figure.Median(l.Seconds), figure.Rate.Format(figure.Median(l.Rates)), l.ratio(),
		figure.Bytes.Format(float64(l.Fetched)), l.Requests, figure.MemoryBytes.Format(float64(l.Memory)))
}

// tableLine is the line in the table of its store.
func (l *line) tableLine() string {
	if l.Failure != "" {
		return fmt.Sprintf("| %s | %s | %s | %s |||||||\n", l.Reader, l.Peer, l.State, escape(l.Failure))
	}
	return fmt.Sprintf("| %s | %s | %s | %.2f | %.2f to %.2f | %.2f | %.2f | %s | %d | %s |\n", l.Reader, l.Peer, l.State,
		figure.Median(l.Seconds), slices.Min(l.Seconds), slices.Max(l.Seconds), figure.Median(l.Rates)/1e9, l.ratio(),
		figure.Bytes.Format(float64(l.Fetched)), l.Requests, figure.MemoryBytes.Format(float64(l.Memory)))
}

func escape(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// table is what was measured, and what one must know to read it.
func (all *results) table() string {
	var b strings.Builder
	o, shape := all.lab.opts, proxy.S3Like()
	fmt.Fprintf(&b, "%s, %d cores, %s. One object of %s, medians of %d samples. S3-like: %v to the first byte, %d MB/s a connection, %d MB/s in all. "+
		"Cold: a new mount, an empty cache and a dropped page cache; warm: the same mount read again. The server's files and the peers' caches lie on tmpfs, copies on a disk. "+
		"The line rate is a plain ranged-GET client's, taken before each sample. Memory is the largest resident set of the mount's daemon, or of the loader.\n\n",
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
	fmt.Fprintf(b, "\n#### %s\n\n| reader | peer | state | seconds | lowest to highest | GB/s | of line rate | fetched | requests | peak memory |\n"+
		"| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |\n", s.name)
	for _, l := range all.lines {
		if l.Store == s.name {
			b.WriteString(l.tableLine())
		}
	}
}

// plot draws the cold ratios of one store as bars.
func (all *results) plot(s store) string {
	var figures []figure.Figure
	for _, l := range all.lines {
		if l.Store != s.name || l.State != cold || len(l.Rates) == 0 {
			continue
		}
		f := figure.Figure{Row: l.Peer, Spec: figure.Spec{Name: l.Reader, Unit: figure.Rate, Target: figure.AtLeast(0)}}
		for i := range l.Rates {
			f.Pairs = append(f.Pairs, figure.Pair{Base: l.Lines[i], Load: l.Rates[i]})
		}
		figures = append(figures, f)
	}
	return figure.Bars("Cold, of the line rate: "+s.name, figures)
}

// write puts the table, the samples and the plots into the folder for results,
// and into the document where one is named.
func (all *results) write(o options) error {
	samples, err := json.MarshalIndent(all.lines, "", "  ")
	if err != nil {
		return err
	}
	table := all.table()
	fmt.Print("\n", table)
	plots := map[string]string{}
	for _, s := range stores() {
		plots["peers-"+strings.ToLower(s.name)+".svg"] = all.plot(s)
	}
	err = errors.Join(writeAll(o.out, plots), writeAll(o.out, map[string]string{"table.md": table, "results.json": string(samples)}))
	if err != nil || o.docs == "" {
		return err
	}
	return errors.Join(publish(o.docs, table), writeAll(strings.TrimSuffix(o.docs, filepath.Ext(o.docs)), plots))
}

// writeAll writes texts into a folder, by their names.
func writeAll(dir string, texts map[string]string) error {
	err := os.MkdirAll(dir, 0o755)
	for name, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return err
}

// The marks in a document between which the table stands.
const (
	tableBegin = "<!-- peers: begin -->\n"
	tableEnd   = "<!-- peers: end -->\n"
)

// publish puts the table into a document.
func publish(docs, table string) error {
	text, err := os.ReadFile(docs)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), tableBegin)
	_, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks to put the table between", docs)
	}
	return os.WriteFile(docs, []byte(head+tableBegin+table+tableEnd+tail), 0o644)
}
