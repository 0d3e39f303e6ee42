package lab

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// WriteAll writes texts into a folder, by their names.
func WriteAll(dir string, texts map[string]string) error {
	err := os.MkdirAll(dir, 0o755)
	for name, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return err
}

// Publish replaces what stands in a document between "<!-- MARK: begin -->" and
// "<!-- MARK: end -->", each a line of its own, and writes the plots, by their
// names, into the folder of the document's name.
func Publish(document, mark, text string, plots map[string]string) error {
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+mark+": begin -->\n", "<!-- "+mark+": end -->\n"
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks called %s", document, mark)
	}
	if err := os.WriteFile(document, []byte(head+begin+text+end+tail), 0o644); err != nil || len(plots) == 0 {
		return err
	}
	return WriteAll(plotFolder(document), plots)
}

func plotFolder(document string) string { return strings.TrimSuffix(document, filepath.Ext(document)) }

// Pictures are the plots as a document shows them that Publish puts them beside.
func Pictures(document string, plots map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(plots)) {
		fmt.Fprintf(&b, "\n![%s](%s/%s)\n", strings.TrimSuffix(name, filepath.Ext(name)), filepath.Base(plotFolder(document)), name)
	}
	return b.String()
}
