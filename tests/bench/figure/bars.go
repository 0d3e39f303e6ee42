package figure

import (
	"fmt"
	"html"
	"math"
	"strings"
)

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
