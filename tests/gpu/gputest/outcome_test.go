package main

import (
	"testing"

	"weightfs/tests/lab"
)

// quick is a load that holds every promise beside loop.
func quick() sample {
	return sample{2.2, lab.Load{Bytes: 100, Seconds: 1.5, PageLocked: 1 << 20, Phases: lab.Phases{Open: 0.5, Device: 1, FirstByte: 0.1}}}
}

func loop() sample {
	return sample{2.3, lab.Load{Bytes: 100, Seconds: 1, Phases: lab.Phases{Open: 1.2, Device: 1.2}}}
}

func TestJudgeHoldsEachPromise(t *testing.T) {
	sc := scenario{name: "local", least: 0.90, overlaps: true}
	for name, c := range map[string]struct {
		change func(r *sample)
		failed int
	}{
		"all held":                      {func(*sample) {}, 0},
		"slower than the loop":          {func(r *sample) { r.Seconds = 1.65 }, 1},
		"slower from outside":           {func(r *sample) { r.seconds = 2.6 }, 1},
		"too much page-locked":          {func(r *sample) { r.PageLocked = stagingCap }, 1},
		"reads once the device is":      {func(r *sample) { r.Phases.FirstByte = 0.5 }, 1},
		"the wait is not in the steady": {func(r *sample) { r.Phases.Device, r.Seconds = 0.9, 1.4 }, 0},
	} {
		load, s := quick(), &score{}
		c.change(&load)
		outcome{[]sample{load}, []sample{loop()}}.judge(s, sc, true)
		if s.failed != c.failed || s.passed+s.failed != 4 {
			t.Errorf("%s: %d failed, %d passed; want %d of 4 failed", name, s.failed, s.passed, c.failed)
		}
	}
	s := &score{}
	o := outcome{[]sample{quick()}, []sample{loop()}}
	if o.judge(s, scenario{least: 0.90}, true); s.passed != 3 {
		t.Errorf("no overlap is promised there: %d passed", s.passed)
	}
	if len(o.row("x")) != len(columns()) || len(o.inside("x")) != len(lab.PhaseHead())+1 {
		t.Errorf("%v %v", o.row("x"), o.inside("x"))
	}
}

// TestNotJudgedIsNotPassed holds that a promise that nothing was held against
// is counted by itself, and is a failure unless it was said that it may be.
func TestNotJudgedIsNotPassed(t *testing.T) {
	s := &score{}
	s.judgeLoadFile(50, other{rate: 10})
	if got := s.verdict(false); s.passed != 1 || got != nil {
		t.Errorf("five times as fast: %+v, %v", s, got)
	}
	s.judgeLoadFile(50, other{absent: "no torch"})
	if s.passed != 1 || s.failed != 0 || s.unjudged != 1 {
		t.Errorf("without load_file: %+v", s)
	}
	if s.verdict(false) == nil || s.verdict(true) != nil {
		t.Errorf("verdict: %v; %v where it may be", s.verdict(false), s.verdict(true))
	}
	s.judgeLoadFile(49, other{rate: 10})
	if s.failed != 1 || s.verdict(true) == nil {
		t.Errorf("less than five times as fast: %+v, %v", s, s.verdict(true))
	}
}
