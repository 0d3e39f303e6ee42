package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"weightfs/cmd/mountd/monitor"
)

// watchPeriod is how often a watched status is told anew.
const watchPeriod = time.Second

// watchStatus tells the status of a mount until a signal comes or the mount ends.
// Another mount that took its place is not the one that was watched.
func (a *app) watchStatus(mountpoint string, s screen) error {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	first, err := findReport(a.env, mountpoint)
	if err != nil {
		return err
	}
	s.begin()
	for r := first; ; {
		if err := s.show(r); err != nil {
			return err
		}
		select {
		case <-a.signals:
			return nil
		case <-tick.C:
		}
		next, err := findReport(a.env, mountpoint)
		switch {
		case errors.Is(err, errNotMounted) && !errors.Is(unix.Kill(first.PID, 0), unix.ESRCH):
			// It is being taken over, or ends.
		case errors.Is(err, errNotMounted), err == nil && next.PID != first.PID:
			return s.end(fmt.Sprintf("the mount at %s has ended", first.Mountpoint))
		case err == nil:
			r = next
		case !cutOff(err):
			return err
		}
	}
}

// cutOff tells whether an answer did not come whole, as of a mountd that ends: the
// next question tells.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// screen is where reports are shown.
type screen struct {
	out     io.Writer
	json    bool
	inPlace bool // each report replaces the one before
	shown   bool
}

// begin has the reports that follow replace each other, where out is a terminal.
func (s *screen) begin() {
	_, _, terminal := s.size()
	s.inPlace = terminal && !s.json
}

// size is that of the terminal, if out is one.
func (s *screen) size() (width, height int, terminal bool) {
	file, ok := s.out.(*os.File)
	if !ok {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(file.Fd()))
	return width, height, err == nil && width > 0 && height > 0
}

// show writes one report.
func (s *screen) show(r monitor.Report) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(r)
	}
	width, height, _ := s.size()
	var text bytes.Buffer
	if s.shown && !s.inPlace {
		text.WriteByte('\n')
	}
	if err := r.Print(&text, width); err != nil {
		return err
	}
	written := text.String()
	if s.inPlace {
		written = inPlace(written, height, !s.shown)
	}
	s.shown = true
	_, err := io.WriteString(s.out, written)
	return err
}

// end says why no more reports follow.
func (s *screen) end(why string) error {
	if s.json {
		return nil // who reads objects sees that there are no more
	}
	_, err := fmt.Fprintln(s.out, why)
	return err
}

// The sequences of a terminal that are needed, ECMA-48's.
const (
	clearScreen = "\x1b[2J"
	cursorHome  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// inPlace has a text replace the one before on a terminal of so many lines, whose
// last one stays free: what does not fit is left out at the end.
func inPlace(text string, height int, first bool) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[:min(len(lines), max(height-1, 1))]
	var b strings.Builder
	if first {
		b.WriteString(clearScreen)
	}
	b.WriteString(cursorHome)
	for _, line := range lines {
		b.WriteString(line + clearLine + "\n")
	}
	b.WriteString(clearBelow)
	return b.String()
}
