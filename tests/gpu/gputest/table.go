package main

import (
	"fmt"
	"slices"
	"strings"
)

// median is the middle of the values, which it does not change; of an even
// number the lower of the two. It panics if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// table is the Markdown of rows under a head; all rows have its length.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		line(row)
	}
	return b.String()
}
