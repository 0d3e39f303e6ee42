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

// Add appends a point.
func (s *Series) Add(x, y float64) { s.X, s.Y = append(s.X, x), append(s.Y, y) }

// Chart is a drawing of lines. The x axis begins where the values do, the y axis at 0;
// LogX spaces the x axis by powers of two, and LogY the y axis by powers of ten, for
// values above 0.
type Chart struct {
	Title, XLabel, YLabel string
	LogX, LogY            bool
	Series                []Series
}

// The measures of a chart in pixels.
const (
	chartWidth, chartHeight = 760, 400
	chartLeft, chartTop     = 70, 40
	plotWidth, plotHeight   = 500, 310
	gridLines, fontLine     = 5, 16
)

// color is one of six that are told apart by most eyes; a seventh series begins anew.
func color(i int) string {
	return [...]string{"#4878a8", "#c04030", "#48a078", "#a06fb0", "#c09030", "#606060"}[i%6]
}

// SVG returns the drawing.
func (c Chart) SVG() string {
	var b strings.Builder
	openSVG(&b, chartWidth, chartHeight, c.Title)
	low, high, top := c.spans()
	scale := func(v float64) float64 { return v }
	if c.LogX {
		scale = math.Log2
	}
	x := func(v float64) float64 {
		return chartLeft + (scale(v)-scale(low))/(scale(high)-scale(low))*plotWidth
	}
	rise, grid := c.yAxis(top)
	y := func(v float64) float64 { return chartTop + plotHeight - rise(v)*plotHeight }
	text := func(x, y float64, attributes, text string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(text))
	}
	for _, v := range grid {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`, chartLeft, y(v), chartLeft+plotWidth, y(v))
		text(chartLeft-6, y(v)+4, `text-anchor="end"`, fmt.Sprintf("%.4g", v))
	}
	for v := low; v <= high; v = c.next(v, low, high) {
		text(x(v), chartTop+plotHeight+fontLine, `text-anchor="middle"`, fmt.Sprintf("%.4g", v))
	}
	text(chartLeft+plotWidth/2, chartHeight-8, `text-anchor="middle"`, c.XLabel)
	text(8, chartTop-6, "", c.YLabel)
	for i, s := range c.Series {
		var points strings.Builder
		for k := range s.Y {
			if len(s.Y) == 1 {
				fmt.Fprintf(&points, "%d,%.1f %d,%.1f", chartLeft, y(s.Y[k]), chartLeft+plotWidth, y(s.Y[k]))
				break
			}
			fmt.Fprintf(&points, "%.1f,%.1f ", x(s.X[k]), y(s.Y[k]))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", points.String(), color(i))
		text(chartLeft+plotWidth+12, float64(chartTop+(i+1)*fontLine), `fill="`+color(i)+`"`, s.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spans are the x axis' ends and the y axis' upper one.
func (c Chart) spans() (low, high, top float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, s := range c.Series {
		for i := range s.Y {
			top = max(top, s.Y[i])
			if len(s.Y) > 1 {
				low, high = min(low, s.X[i]), max(high, s.X[i])
			}
		}
	}
	if !(low < high) { // nothing to span
		low, high = 1, 2
	}
	if top == 0 {
		top = 1
	}
	return low, high, top * 1.05
}

// yAxis is how far up a value stands, 0 to 1, and where lines go across.
func (c Chart) yAxis(top float64) (rise func(float64) float64, grid []float64) {
	if !c.LogY {
		for i := range gridLines + 1 {
			grid = append(grid, top*float64(i)/gridLines)
		}
		return func(v float64) float64 { return v / top }, grid
	}
	least := top
	for _, s := range c.Series {
		for _, v := range s.Y {
			least = min(least, v)
		}
	}
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(top))
	for power := low; power <= high; power++ {
		grid = append(grid, math.Pow(10, power))
	}
	return func(v float64) float64 { return (math.Log10(v) - low) / (high - low) }, grid
}

// next is the number of the x axis after v.
func (c Chart) next(v, low, high float64) float64 {
	if c.LogX {
		return 2 * v
	}
	return v + (high-low)/gridLines
}

// The measures of the bars in pixels.
const (
	barHeight, barGap = 16, 8
	barLabels         = 430 // width of the names
	barUnit           = 300 // length of a ratio of 1
	barWidth, barTop  = 960, 44
)

// Bars returns an SVG of the figures that have a target of at least something:
// each ratio as a bar, and its target as a tick.
func Bars(title string, figures []Figure) string {
	var bars strings.Builder
	y := barTop
	for _, f := range figures {
		ratio := f.Ratio()
		if f.Target.sense != atLeast || math.IsNaN(ratio) || math.IsInf(ratio, 0) {
			continue
		}
		fill := color(0)
		if !f.Met() {
			fill = color(1)
		}
		width, tick := min(ratio*barUnit, barWidth-barLabels-60), barLabels+f.Target.bound*barUnit
		fmt.Fprintf(&bars, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLabels-8, y+12, html.EscapeString(f.Title()))
		fmt.Fprintf(&bars, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`, barLabels, y, max(width, 1), barHeight, fill)
		fmt.Fprintf(&bars, `<text x="%.0f" y="%d">%.2f</text>`, barLabels+width+6, y+12, ratio)
		fmt.Fprintf(&bars, `<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="black" stroke-width="2"/>`+"\n", tick, y-2, tick, y+barHeight+2)
		y += barHeight + barGap
	}
	var b strings.Builder
	openSVG(&b, barWidth, y+barGap, title)
	return b.String() + bars.String() + "</svg>\n"
}

// openSVG begins a drawing with a title.
func openSVG(b *strings.Builder, width, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="20" font-size="14">%s</text>`+"\n", html.EscapeString(title))
}
