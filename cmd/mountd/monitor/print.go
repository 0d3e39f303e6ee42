// The report as text, for "mountd status".

package monitor

import (
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/mattn/go-runewidth"
)

const (
	// DefaultWidth is that of the text where the terminal's is not known.
	DefaultWidth = 80
	// minWidth is the least that the text is made for.
	minWidth = 60
	// labelWidth is that of the column of labels.
	labelWidth = 10
	// readerWidth is that of the readers of files.
	readerWidth = 16
	// printedFiles bounds the open files in the text, printedFailures the failures.
	printedFiles    = 16
	printedFailures = 5
)

// text is a report while it is written.
type text struct {
	strings.Builder
	width int
}

// Print writes the report for people, in lines of at most so many columns; 0 is
// DefaultWidth.
func (r Report) Print(w io.Writer, width int) error {
	if width <= 0 {
		width = DefaultWidth
	}
	t := &text{width: max(width, minWidth)}
	t.mount(r)
	t.line()
	t.paragraph("held back", string(r.Bound.By)+": "+r.Bound.Why)
	t.line()
	t.throughput(r.Throughput)
	t.line()
	t.memory(r)
	t.handoff(r.Handoff)
	t.tier(r.Tier)
	t.row("GETs", fetchesText(r))
	t.row("kernel", kernelText(r.Kernel))
	t.line()
	t.files(r.Files)
	t.failures(r)
	_, err := io.WriteString(w, t.String())
	return err
}

// line ends a line.
func (t *text) line() { t.WriteByte('\n') }

// row is a label with what it is of, cut where the line ends.
func (t *text) row(label, value string) {
	fmt.Fprintf(t, "%-*s%s\n", labelWidth, label, cutEnd(printable(value), t.width-labelWidth))
}

// paragraph is a row whose text goes on below, in at most so many lines.
func (t *text) paragraph(label, value string) {
	const lines = 3
	for range lines - 1 {
		first, rest := firstLine(printable(value), t.width-labelWidth)
		if rest == "" {
			break
		}
		t.row(label, first)
		label, value = "", rest
	}
	t.row(label, value)
}

// firstLine are the words of s that fit in so many columns, and the others.
func firstLine(s string, width int) (first, rest string) {
	if runewidth.StringWidth(s) <= width {
		return s, ""
	}
	first = runewidth.Truncate(s, width, "")
	if i := strings.LastIndexByte(first, ' '); i > 0 && s[len(first)] != ' ' {
		first = first[:i]
	}
	return first, strings.TrimPrefix(s[len(first):], " ")
}

func (t *text) mount(r Report) {
	t.row("source", cutMiddle(printable(r.Source), t.width-labelWidth))
	mountpoint := r.Mountpoint
	if mountpoint == "" {
		mountpoint = "(mounted by another process)"
	}
	t.row("mounted", cutMiddle(printable(mountpoint), t.width-labelWidth))
	up := time.Duration(r.UptimeSeconds * float64(time.Second)).Round(time.Second)
	t.row("since", fmt.Sprintf("%s (%v), pid %d, version %s", r.Time.Add(-up).Local().Format(time.DateTime), up, r.PID, r.Version))
	if r.Upgrades > 0 {
		t.row("upgrades", fmt.Sprintf("%d, pid %d serves", r.Upgrades, r.WorkerPID))
	}
	if r.Takeovers > 0 {
		t.row("takeovers", fmt.Sprintf("%d from processes that had died, the last one by pid %d", r.Takeovers, r.WorkerPID))
	}
}

func (t *text) throughput(p Throughput) {
	row := func(label, now, minute, ten string) {
		fmt.Fprintf(t, "%-*s%-14s%-14s%s\n", labelWidth, label, now, minute, ten)
	}
	row("", "now", "1 min", "10 min")
	row("served", formatRate(p.Now.Served), formatRate(p.Minute.Served), formatRate(p.TenMinutes.Served))
	row("fetched", formatRate(p.Now.Fetched), formatRate(p.Minute.Fetched), formatRate(p.TenMinutes.Fetched))
}

func (t *text) memory(r Report) {
	c := r.Cache
	t.row("cache", fmt.Sprintf("%s of %s: %s kept, %s unread, %s in flight", formatSize(c.Total-c.Free), formatSize(r.MemoryLimit),
		formatSize(c.Retained+c.Leased), formatSize(c.Unread), formatSize(c.InFlight)))
	t.row("", bar([]part{{'#', c.Retained + c.Leased}, {'+', c.Unread}, {'~', c.InFlight}, {'.', c.Free}}, min(t.width, DefaultWidth)-labelWidth-2))
	t.row("memory", fmt.Sprintf("%s resident, at most %s promised", formatSize(r.Memory.Resident), formatSize(r.Memory.Promised)))
}

// part of a bar, drawn with a sign.
type part struct {
	sign byte
	size int64
}

// bar draws the parts in so many columns, between brackets. What is there is seen,
// as long as there are columns.
func bar(parts []part, width int) string {
	var total, before int64
	for _, p := range parts {
		total += p.size
	}
	width -= 2
	var b strings.Builder
	for _, p := range parts {
		before += p.size
		columns := 0
		if total > 0 {
			columns = int(before*int64(width)/total) - b.Len()
		}
		if p.size > 0 {
			columns = max(columns, 1)
		}
		b.WriteString(strings.Repeat(string(p.sign), max(min(columns, width-b.Len()), 0)))
	}
	return fmt.Sprintf("[%-*s]", width, b.String())
}

func fetchesText(r Report) string {
	f := r.Fetches
	s := fmt.Sprintf("%d of %d", f.UnderWay, f.Limit)
	if f.UnderWay > 0 {
		s += ", oldest " + formatSeconds(f.OldestSeconds)
	}
	if f.Queued > 0 {
		s += fmt.Sprintf(", %d queued", f.Queued)
	}
	if r.Waiting.Readers > 0 {
		s += fmt.Sprintf("; READs waiting: %d", r.Waiting.Readers)
	}
	if r.Waiting.ForMemory > 0 {
		s += fmt.Sprintf(", %d for memory", r.Waiting.ForMemory)
	}
	return s
}

func kernelText(k Kernel) string {
	parts := []string{"readahead unknown", "max_read " + formatSize(k.MaxRead)}
	if k.ReadAhead > 0 {
		parts[0] = "readahead " + formatSize(k.ReadAhead)
	}
	if k.Passthrough {
		parts = append(parts, "passthrough")
	}
	return strings.Join(append(parts, "FUSE "+k.Protocol, "Linux "+k.Release), ", ")
}

func (t *text) files(f Files) {
	t.row("reading", count(f.Open, "open file"))
	for _, file := range f.Listed[:min(len(f.Listed), printedFiles)] {
		t.file(file)
	}
	if more := f.Open - int64(min(len(f.Listed), printedFiles)); more > 0 {
		fmt.Fprintf(t, "  and %d more\n", more)
	}
}

func (t *text) file(f File) {
	progress, rate := fmt.Sprintf("%d%%", percent(f.Furthest, f.Size)), formatRate(f.BytesPerSec)
	if f.ReadsByKernel {
		progress, rate = "", "by kernel"
	}
	reader := runewidth.FillRight(cutEnd(printable(readerText(f.PID, f.Command)), readerWidth), readerWidth)
	head := fmt.Sprintf("  %4s  %8s  %9s  %s  ", progress, formatSize(f.Size), rate, reader)
	fmt.Fprintf(t, "%s%s\n", head, cutName(printable(f.Object), t.width-runewidth.StringWidth(head)))
}

// readerText names a process.
func readerText(pid uint32, command string) string {
	switch {
	case pid == 0:
		return "other container"
	case command == "":
		return fmt.Sprintf("%d (ended)", pid)
	}
	return fmt.Sprintf("%s %d", command, pid)
}

func (t *text) failures(r Report) {
	if len(r.Failures) == 0 {
		t.row("failed", "nothing that was read or listed")
		return
	}
	t.row("failed", "the latest first")
	for _, f := range r.Failures[:min(len(r.Failures), printedFailures)] {
		head := fmt.Sprintf("  %s  %s ", f.Time.Local().Format(time.TimeOnly), f.Op)
		if f.Count > 1 {
			head = fmt.Sprintf("  %s  %d x %s ", f.Time.Local().Format(time.TimeOnly), f.Count, f.Op)
		}
		tail := "  " + readerText(f.PID, f.Command)
		fmt.Fprintf(t, "%s%s%s\n", head, cutName(printable(f.Object), max(t.width-len(head)-len(tail), 10)), printable(tail))
		for cause, rest := "", printable(f.Cause); rest != ""; {
			cause, rest = firstLine(rest, t.width-4)
			fmt.Fprintf(t, "    %s\n", cause)
		}
	}
}

// percent is the whole part of it; 100 only at the end.
func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 100
	}
	return int64(float64(part) / float64(whole) * 100)
}

// formatSize writes bytes in binary units, as memory is measured in.
func formatSize(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// formatRate writes bytes per second in decimal units, as networks are measured in.
func formatRate(perSecond float64) string { return humanize.Bytes(uint64(max(perSecond, 0))) + "/s" }

func formatSeconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// count is "1 file", "2 files".
func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// printable is s with a sign in place of all that would do something to a terminal:
// a key may hold any bytes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// cutEnd is s in at most so many columns.
func cutEnd(s string, width int) string { return runewidth.Truncate(s, max(width, 1), "…") }

// cutName is a key in at most so many columns: folders give way first.
func cutName(key string, width int) string {
	full, base := runewidth.StringWidth(key), path.Base(key)
	switch {
	case full <= width:
		return key
	case runewidth.StringWidth(base) < width:
		return "…" + runewidth.TruncateLeft(key, full-width+1, "")
	}
	return cutMiddle(base, width)
}

// cutMiddle is s in at most so many columns, without its middle: names of shards
// differ at their ends.
func cutMiddle(s string, width int) string {
	full := runewidth.StringWidth(s)
	if full <= width || width < 3 {
		return cutEnd(s, width)
	}
	left := (width - 1) / 3
	right := width - 1 - left
	return runewidth.Truncate(s, left, "") + "…" + runewidth.TruncateLeft(s, full-right, "")
}
