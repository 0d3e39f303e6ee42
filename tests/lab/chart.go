package lab

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Series is one line of a chart. With one point it is a level: a line across.
type Series struct {
	Name string
	X, Y []float64
}

// Chart is a drawing of lines.
type Chart struct {
	Title, XLabel, YLabel string
	// LogX spaces the x axis by powers of two.
	LogX   bool
	Series []Series
}

// The measures of a chart in pixels.
const (
	chartWidth, chartHeight = 760, 400
	chartLeft, chartRight   = 70, 190
	chartTop, chartBottom   = 40, 50
	plotWidth               = chartWidth - chartLeft - chartRight
	plotHeight              = chartHeight - chartTop - chartBottom
	gridLines               = 5
	fontLine, legendLeft    = 16, 12
)

// color is one of six that are told apart by most eyes; a seventh series begins anew.
func color(i int) string {
	return [...]string{"#4878a8", "#c04030", "#48a078", "#a06fb0", "#c09030", "#606060"}[i%6]
}

// SVG returns the drawing.
func (c Chart) SVG() string {
	var b strings.Builder
	openSVG(&b, chartWidth, chartHeight, c.Title)
	a := c.axes()
	a.draw(&b, c)
	for i, s := range c.Series {
		a.line(&b, s, color(i))
		y := chartTop + (i+1)*fontLine
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", chartWidth-chartRight+legendLeft, y, color(i), html.EscapeString(s.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// axes map values to pixels. The y axis begins at 0.
type axes struct {
	minX, maxX, maxY float64
	log              bool
}

func (c Chart) axes() axes {
	a := axes{minX: math.Inf(1), maxX: math.Inf(-1), log: c.LogX}
	for _, s := range c.Series {
		for i := range s.Y {
			a.maxY = max(a.maxY, s.Y[i])
			if len(s.X) > 1 {
				a.minX, a.maxX = min(a.minX, s.X[i]), max(a.maxX, s.X[i])
			}
		}
	}
	if !(a.minX < a.maxX) { // nothing to span
		a.minX, a.maxX = 1, 2
	}
	if a.maxY == 0 {
		a.maxY = 1
	}
	a.maxY *= 1.05
	return a
}

func (a axes) x(v float64) float64 {
	low, high := a.minX, a.maxX
	if a.log {
		v, low, high = math.Log2(v), math.Log2(low), math.Log2(high)
	}
	return chartLeft + (v-low)/(high-low)*plotWidth
}

func (a axes) y(v float64) float64 { return chartTop + plotHeight - v/a.maxY*plotHeight }

// draw draws the grid, its numbers and the labels.
func (a axes) draw(b *strings.Builder, c Chart) {
	for i := range gridLines + 1 {
		v := a.maxY * float64(i) / gridLines
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`, chartLeft, a.y(v), chartLeft+plotWidth, a.y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n", chartLeft-6, a.y(v)+4, v)
	}
	for _, v := range a.marks() {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.4g</text>`+"\n", a.x(v), chartTop+plotHeight+fontLine, v)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`, chartLeft+plotWidth/2, chartHeight-8, html.EscapeString(c.XLabel))
	fmt.Fprintf(b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", chartTop+plotHeight/2, html.EscapeString(c.YLabel))
}

// marks are where the x axis has numbers.
func (a axes) marks() []float64 {
	var marks []float64
	if a.log {
		for v := a.minX; v <= a.maxX; v *= 2 {
			marks = append(marks, v)
		}
		return marks
	}
	for i := range gridLines + 1 {
		marks = append(marks, a.minX+(a.maxX-a.minX)*float64(i)/gridLines)
	}
	return marks
}

// line draws one series; one point is a dashed level.
func (a axes) line(b *strings.Builder, s Series, color string) {
	if len(s.Y) == 1 {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-dasharray="5 3"/>`+"\n",
			chartLeft, a.y(s.Y[0]), chartLeft+plotWidth, a.y(s.Y[0]), color)
		return
	}
	var points strings.Builder
	for i := range s.Y {
		fmt.Fprintf(&points, "%.1f,%.1f ", a.x(s.X[i]), a.y(s.Y[i]))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", points.String(), color)
}

// The measures of the bars in pixels.
const (
	barHeight, barGap = 16, 8
	barLabels         = 430 // width of the names
	barUnit           = 300 // length of the target, or of a ratio of 1
	barWidth          = 960
	barTop            = 44
)

// Bars returns an SVG of the figures that have a target of at least something:
// each ratio as a bar, and its target as a tick.
func Bars(title string, figures []Figure) string {
	var shown []Figure
	for _, f := range figures {
		if f.Target.sense == atLeast && !math.IsNaN(f.Ratio()) && !math.IsInf(f.Ratio(), 0) {
			shown = append(shown, f)
		}
	}
	var b strings.Builder
	height := barTop + len(shown)*(barHeight+barGap) + barGap
	openSVG(&b, barWidth, height, title)
	for i, f := range shown {
		bar(&b, barTop+i*(barHeight+barGap), f)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// bar draws one figure at height y.
func bar(b *strings.Builder, y int, f Figure) {
	color := "#4878a8"
	if !f.Met() {
		color = "#c04030"
	}
	width := min(f.Ratio()*barUnit, barWidth-barLabels-60)
	tick := barLabels + f.Target.bound*barUnit
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLabels-8, y+12, html.EscapeString(f.Title()))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`, barLabels, y, max(width, 1), barHeight, color)
	fmt.Fprintf(b, `<text x="%.0f" y="%d">%.2f</text>`, barLabels+width+6, y+12, f.Ratio())
	fmt.Fprintf(b, `<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="black" stroke-width="2"/>`+"\n", tick, y-2, tick, y+barHeight+2)
}

// openSVG begins a drawing with a title.
func openSVG(b *strings.Builder, width, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="20" font-size="14">%s</text>`+"\n", html.EscapeString(title))
}
