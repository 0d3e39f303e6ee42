package faults

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// row is what one reader of one case was expected to see, and saw.
type row struct {
	name, expected, seen string
	failed               bool
}

// table collects rows. Its methods are safe for concurrent use.
type table struct {
	mu   sync.Mutex
	rows []row // guarded by mu
}

// seenBy begins a row of the table, which is noted once the test ends, with its
// verdict.
func seenBy(t *testing.T, expected string) *strings.Builder {
	b, seen := &theStage.table, &strings.Builder{}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.rows = append(b.rows, row{strings.TrimPrefix(t.Name(), "Test"), expected, seen.String(), t.Failed()})
	})
	return seen
}

// print writes the rows by name.
func (b *table) print(w io.Writer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows) == 0 {
		return nil
	}
	slices.SortStableFunc(b.rows, func(x, y row) int { return strings.Compare(x.name, y.name) })
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tabs, "CASE\tEXPECTED\tSEEN\t")
	for _, r := range b.rows {
		verdict := "ok"
		if r.failed {
			verdict = "FAILED"
		}
		fmt.Fprintf(tabs, "%s\t%s\t%s\t%s\n", r.name, r.expected, r.seen, verdict)
	}
	return tabs.Flush()
}
