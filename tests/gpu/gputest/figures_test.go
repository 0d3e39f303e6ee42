package main

import (
	"io"
	"testing"

	"weightfs/tests/lab"
)

// TestEachPromiseIsHeld changes a load that holds every promise beside the loop.
func TestEachPromiseIsHeld(t *testing.T) {
	sc := scenario{name: "local", least: 0.90, overlaps: true}
	loop := lab.Load{Whole: 2.3, Bytes: 100, Seconds: 2.2, Phases: lab.Phases{Context: 1.2}}
	for name, c := range map[string]struct {
		change func(l *lab.Load)
		failed int
	}{
		"all held":                      {func(*lab.Load) {}, 0},
		"slower than the loop":          {func(l *lab.Load) { l.Seconds = 2.15 }, 1},
		"slower from outside":           {func(l *lab.Load) { l.Whole = 2.6 }, 1},
		"too much page-locked":          {func(l *lab.Load) { l.PageLocked = stagingCap + 1 }, 1},
		"reads once the device is":      {func(l *lab.Load) { l.Phases.FirstByte = 1.1 }, 1},
		"the wait is not in the steady": {func(l *lab.Load) { l.Phases.Context, l.Seconds = 1.4, 2.4 }, 0},
	} {
		load := lab.Load{Whole: 2.2, Bytes: 100, Seconds: 2, PageLocked: 1 << 20, Phases: lab.Phases{Context: 1, FirstByte: 0.6}}
		c.change(&load)
		s := &report{out: io.Discard}
		for _, f := range sc.figures([][]lab.Load{{load, loop}}, true) {
			s.judge(f)
		}
		if s.failed != c.failed || s.passed+s.failed != 4 {
			t.Errorf("%s: %d failed, %d passed; want %d of 4 failed", name, s.failed, s.passed, c.failed)
		}
	}
}

// TestNotJudgedIsNotPassed holds that a promise that nothing was held against
// is counted by itself, and is a failure unless it was said that it may be.
func TestNotJudgedIsNotPassed(t *testing.T) {
	s := &report{out: io.Discard}
	if s.judge(besideLoadFile("local", 50, 10)); s.verdict(false) != nil {
		t.Errorf("five times as fast: %+v", s)
	}
	if s.skip("load_file", "no torch"); s.verdict(false) == nil || s.verdict(true) != nil {
		t.Errorf("verdict: %v; %v where it may be", s.verdict(false), s.verdict(true))
	}
	if s.judge(besideLoadFile("local", 49, 10)); s.verdict(true) == nil {
		t.Errorf("less than five times as fast: %+v", s)
	}
}
