package lab

import (
	"fmt"
	"slices"
	"strings"
)

// Table is the Markdown of rows under a head. A column whose head ends in a
// colon is aligned to the right.
func Table(head []string, rows [][]string) string {
	var b strings.Builder
	names, rules := make([]string, len(head)), make([]string, len(head))
	for i, name := range head {
		names[i], rules[i] = name, "---"
		if short, right := strings.CutSuffix(name, ":"); right {
			names[i], rules[i] = short, "--:"
		}
	}
	for _, cells := range append([][]string{names, rules}, rows...) {
		for i, cell := range cells {
			cells[i] = escape(cell)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

// escape protects what ends a cell or a row.
func escape(cell string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(cell, "|", `\|`)), " ")
}

// Promises is the table of those figures that have a target, without their state
// and what was asked for.
func Promises(figures []Figure) string {
	targets := slices.DeleteFunc(slices.Clone(figures), func(f Figure) bool { return f.Target == Target{} })
	return table(targets, func(cells []string) []string { return append(cells[:1:1], cells[2:8]...) })
}

// Figures is the table of figures.
func Figures(figures []Figure) string {
	return table(figures, func(cells []string) []string { return cells })
}

// table is that of the columns which choose returns of all.
func table(figures []Figure, choose func([]string) []string) string {
	var rows [][]string
	for _, f := range figures {
		lowest, highest := f.Spread()
		t := f.shownTraffic()
		rows = append(rows, choose([]string{
			f.Title(), f.State, f.Baseline, f.Unit.Format(f.Base()), f.Unit.Format(f.Load()), f.shownRatio(), f.verdict(),
			fmt.Sprintf("%.3g–%.3g, %d", lowest, highest, len(f.Pairs)), t[0], t[1], t[2], t[3],
		}))
	}
	return Table(choose([]string{"row", "state", "baseline", "baseline's median:", "median:", "ratio:", "target", "of rounds, samples",
		"GETs:", "LISTs:", "fetched:", "READs:"}), rows)
}

// shownTraffic is the usual GETs, LISTs, bytes and READs, or dashes where nobody
// counted them.
func (f Figure) shownTraffic() [4]string {
	if len(f.Traffic) == 0 {
		return [4]string{"–", "–", "–", "–"}
	}
	t := f.Usual()
	return [4]string{fmt.Sprint(t.GETs), fmt.Sprint(t.LISTs), Bytes.Format(float64(t.Bytes)), fmt.Sprint(t.READs)}
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
		return ""
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
		f.Title(), f.Unit.Format(f.Load()), f.Unit.Format(f.Base()), f.Baseline, f.Ratio(), f.verdict(), t[0], t[1], t[2], t[3])
}
