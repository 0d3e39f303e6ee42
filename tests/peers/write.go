package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// publication is a table and the document with the marks that it stands between.
type publication struct{ document, mark, text string }

// write puts the tables, the samples and the plots into the folder for results,
// and into the documents where their folder is named.
func (all *results) write(o options) error {
	samples, err := json.MarshalIndent(all.lines, "", "  ")
	if err != nil {
		return err
	}
	table, patterns := all.table(), all.patternTable()
	fmt.Print("\n", table, "\n", patterns)
	plots := map[string]string{}
	for _, s := range stores() {
		plots[s.plotFile()] = all.plot(s)
	}
	texts := map[string]string{"table.md": table, "patterns.md": patterns, "results.json": string(samples)}
	if err := errors.Join(writeAll(o.out, plots), writeAll(o.out, texts)); err != nil || o.docs == "" {
		return err
	}
	for _, p := range []publication{
		{"benchmarks.md", "peers", table},
		{"vllm.md", "patterns", patterns},
	} {
		if err := p.publish(o.docs); err != nil {
			return err
		}
	}
	return writeAll(filepath.Join(o.docs, "benchmarks"), plots)
}

// writeAll writes texts into a folder, by their names.
func writeAll(dir string, texts map[string]string) error {
	err := os.MkdirAll(dir, 0o755)
	for name, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return err
}

// publish replaces what stands between the marks of the document.
func (p publication) publish(dir string) error {
	path := filepath.Join(dir, p.document)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+p.mark+": begin -->\n", "<!-- "+p.mark+": end -->\n"
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks called %s", path, p.mark)
	}
	return os.WriteFile(path, []byte(head+begin+p.text+end+tail), 0o644)
}
