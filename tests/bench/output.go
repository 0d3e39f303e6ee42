package main

import (
	"fmt"
	"html"
	"os"
	"runtime"
	"slices"
	"strings"

	"weightfs/cmd/cli"
)

// markdown returns the results as a table with what one must know to read it.
func markdown(o options, results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cores, kernel %s, object of %s, medians of %d; cold: a new mount and a dropped page cache for each sample.\n\n",
		runtime.NumCPU(), kernel(), cli.FormatSize(int64(o.size)), o.runs)
	b.WriteString("| reader through the mount | plain client, GB/s | mount, GB/s | ratio | lowest to highest, GB/s |\n| --- | --: | --: | --: | --: |\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.2f to %.2f |\n", r.Name, median(r.Client)/1e9, median(r.Mount)/1e9,
			r.ratio(), slices.Min(r.Mount)/1e9, slices.Max(r.Mount)/1e9)
	}
	return b.String()
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// The plot's measures in pixels.
const (
	barHeight, barGap  = 18, 8
	labelWidth, unit   = 260, 320 // unit is the length of a ratio of 1
	plotWidth, topRoom = 720, 40
)

// plot returns an SVG of the ratios as bars, with a line at 1: the client.
func plot(results []result) string {
	var b strings.Builder
	height := topRoom + len(results)*(barHeight+barGap) + barGap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="20" font-size="14">Read through the mount, as a ratio of a plain ranged-GET client (cold)</text>`+"\n")
	for i, r := range results {
		y := topRoom + i*(barHeight+barGap)
		width := min(r.ratio()*unit, plotWidth-labelWidth-50)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelWidth-8, y+13, html.EscapeString(r.Name))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="#4878a8"/>`, labelWidth, y, width, barHeight)
		fmt.Fprintf(&b, `<text x="%.0f" y="%d">%.2f</text>`+"\n", labelWidth+width+6, y+13, r.ratio())
	}
	fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#c04030" stroke-dasharray="4 3"/>`+"\n</svg>\n", labelWidth+unit, topRoom-6, labelWidth+unit, height)
	return b.String()
}
