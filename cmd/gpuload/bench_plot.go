package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The plot's size and margins, in pixels.
const (
	plotWidth, plotHeight = 640, 400
	plotLeft, plotRight   = 70, 20
	plotTop, plotBottom   = 50, 60
)

// plot draws seconds against concurrency, and the seconds that the slowest
// stage would take by itself, as SVG.
func (r *benchResult) plot() []byte {
	runs := slices.Clone(r.Runs)
	slices.SortStableFunc(runs, func(a, b benchRun) int { return a.Concurrency - b.Concurrency })
	limit := r.limit()
	least := float64(r.best().Bytes) / limit.BytesPerSecond
	p := newScale(runs, least)

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	text(&b, plotWidth/2, 25, "middle", r.title())
	text(&b, plotWidth/2, plotHeight-15, "middle", "concurrency")
	text(&b, plotLeft, plotTop-14, "end", "seconds")
	p.axes(&b, runs)
	y := p.y(least)
	fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="crimson" stroke-dasharray="6 4"/>`+"\n",
		plotLeft, y, plotWidth-plotRight, y)
	text(&b, plotWidth-plotRight, labelBeside(y), "end", fmt.Sprintf("the %s by itself: %.2f GB/s", limit.Name, limit.BytesPerSecond/1e9))
	var points []string
	for _, run := range runs {
		x, y := p.x(run.Concurrency), p.y(run.Seconds)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="4" fill="steelblue"/>`+"\n", x, y)
	}
	fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="steelblue" stroke-width="2"/>`+"\n", strings.Join(points, " "))
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// labelBeside is where to write about the line at y: below it, since the loads
// are above, unless the axis is there.
func labelBeside(y float64) float64 {
	if y+20 > plotHeight-plotBottom {
		return y - 6
	}
	return y + 16
}

// scale maps concurrencies, by their logarithm, and seconds, from 0, to pixels.
type scale struct {
	least, most float64 // logarithms of concurrencies
	seconds     float64 // at the top
	step        float64 // seconds between marks
}

func newScale(runs []benchRun, seconds float64) scale {
	s := scale{
		least: math.Log2(float64(runs[0].Concurrency)),
		most:  math.Log2(float64(runs[len(runs)-1].Concurrency)),
	}
	for _, run := range runs {
		seconds = max(seconds, run.Seconds)
	}
	s.step = math.Pow(10, math.Floor(math.Log10(seconds)))
	for seconds/s.step < 4 {
		s.step /= 2
	}
	s.seconds = s.step * math.Ceil(seconds/s.step)
	return s
}

func (s scale) x(concurrency int) float64 {
	const width = plotWidth - plotLeft - plotRight
	if s.most == s.least {
		return plotLeft + width/2
	}
	return plotLeft + width*(math.Log2(float64(concurrency))-s.least)/(s.most-s.least)
}

func (s scale) y(seconds float64) float64 {
	return plotHeight - plotBottom - (plotHeight-plotTop-plotBottom)*seconds/s.seconds
}

func (s scale) axes(b *bytes.Buffer, runs []benchRun) {
	for i := 0; float64(i)*s.step <= s.seconds+s.step/2; i++ {
		seconds := float64(i) * s.step
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="gainsboro"/>`+"\n",
			plotLeft, s.y(seconds), plotWidth-plotRight, s.y(seconds))
		text(b, plotLeft-8, s.y(seconds)+4, "end", fmt.Sprintf("%.4g", seconds))
	}
	for _, run := range runs {
		text(b, s.x(run.Concurrency), plotHeight-plotBottom+18, "middle", fmt.Sprint(run.Concurrency))
	}
}

func text(b *bytes.Buffer, x, y float64, anchor, content string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">`, x, y, anchor)
	_ = xml.EscapeText(b, []byte(content)) // a buffer's Write never fails
	b.WriteString("</text>\n")
}
