package figure

import (
	"fmt"
	"strings"
)

// Table returns figures as a Markdown table.
func Table(figures []Figure) string {
	var b strings.Builder
	b.WriteString("| row | cold or warm | baseline | baseline's median | median | ratio | target | lowest to highest | GETs | LISTs | fetched | READs |\n")
	b.WriteString("| --- | --- | --- | --: | --: | --: | --- | --- | --: | --: | --: | --: |\n")
	for _, f := range figures {
		b.WriteString(f.tableLine())
	}
	return b.String()
}

func (f Figure) tableLine() string {
	lowest, highest := f.Spread()
	t := f.shownTraffic()
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %.3g to %.3g | %s | %s | %s | %s |\n",
		escape(f.Title()), escape(f.State), escape(f.Baseline), f.Unit.Format(f.Base()), f.Unit.Format(f.Load()),
		f.shownRatio(), f.verdict(), lowest, highest, t.gets, t.lists, t.bytes, t.reads)
}

// trafficText is the traffic as tables show it.
type trafficText struct{ gets, lists, bytes, reads string }

// shownTraffic is the usual traffic, or dashes where nobody counted it.
func (f Figure) shownTraffic() trafficText {
	if len(f.Traffic) == 0 {
		return trafficText{"–", "–", "–", "–"}
	}
	t := f.Usual()
	return trafficText{fmt.Sprint(t.GETs), fmt.Sprint(t.LISTs), Bytes.Format(float64(t.Bytes)), fmt.Sprint(t.READs)}
}

// shownRatio is the ratio in bold where it misses its target.
func (f Figure) shownRatio() string {
	if f.Met() {
		return fmt.Sprintf("%.3g", f.Ratio())
	}
	return fmt.Sprintf("**%.3g**", f.Ratio())
}

func (f Figure) verdict() string {
	switch {
	case f.Target == Target{}:
		return "printed"
	case f.Met():
		return f.Target.String()
	default:
		return f.Target.String() + " **missed**"
	}
}

// Line is the figure as one line of a terminal.
func (f Figure) Line() string {
	t := f.shownTraffic()
	return fmt.Sprintf("%-52s %10s of %10s %-16s ratio %6.3g  %-16s GETs %s LISTs %s fetched %s READs %s",
		f.Title(), f.Unit.Format(f.Load()), f.Unit.Format(f.Base()), f.Baseline, f.Ratio(), f.verdict(),
		t.gets, t.lists, t.bytes, t.reads)
}

// escape protects what ends a cell.
func escape(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
