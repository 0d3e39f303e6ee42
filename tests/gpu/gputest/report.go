package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"weightfs/tests/lab"
)

// reportFile is the report's name in the folder that is asked for.
const reportFile = "gputest.md"

// report counts checks and says each, and each table, at once, to standard output
// and into a file: whatever ends the run, what was found is there.
type report struct {
	out                      io.Writer
	file                     *os.File // nil for none
	passed, failed, unjudged int
	// anyRate says that rates and times are told and not judged.
	anyRate bool
}

// newReport makes a report into dir too, unless that is empty.
func newReport(dir string) (*report, error) {
	r := &report{out: os.Stdout}
	if dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if r.file, err = os.Create(filepath.Join(dir, reportFile)); err != nil {
		return nil, err
	}
	r.out = io.MultiWriter(os.Stdout, r.file)
	return r, nil
}

func (r *report) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// say prints, and has the file reach the disk. What cannot be written is noticed
// when the file is closed.
func (r *report) say(format string, args ...any) {
	fmt.Fprintf(r.out, format, args...)
	if r.file != nil {
		_ = r.file.Sync()
	}
}

// table prints a table under a line.
func (r *report) table(line, table string) { r.say("\n%s\n\n%s\n", line, table) }

// skip notes a check that had nothing to be held against.
func (r *report) skip(what, why string) {
	r.unjudged++
	r.say("--   %s: not judged: %s\n", what, why)
}

// judge holds a figure to its target.
func (r *report) judge(f lab.Figure) {
	what := fmt.Sprintf("%s, %s of %s", f.Title(), f.Target, f.Baseline)
	if r.anyRate && (f.Unit == lab.Rate || f.Unit == lab.Time) {
		r.skip(what, fmt.Sprintf("%.3g, of a machine that is not for it", f.Ratio()))
		return
	}
	var err error
	if !f.Met() {
		err = fmt.Errorf("%.3g: %s, of %s", f.Ratio(), f.Unit.Format(f.Load()), f.Unit.Format(f.Base()))
	}
	r.add(what, err)
}

func (r *report) add(what string, err error) {
	if err != nil {
		r.failed++
		r.say("FAIL %s: %v\n", what, err)
		return
	}
	r.passed++
	r.say("ok   %s\n", what)
}

// verdict is an error if a check failed, or, unless it may, was not judged.
func (r *report) verdict(unjudged bool) error {
	switch {
	case r.failed > 0:
		return errors.New("not everything is as it should be")
	case r.unjudged > 0 && !unjudged:
		return errors.New("not everything was judged, see --allow-unjudged")
	}
	return nil
}
