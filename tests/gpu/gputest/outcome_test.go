package main

import "testing"

// quick is a load that holds every promise beside loop.
func quick() report {
	return report{Bytes: 100, Seconds: 1.5, PageLocked: 1 << 20, Phases: phases{Open: 0.5, Device: 1, FirstByte: 0.1, FirstTensor: 0.7}}
}

func loop() report { return report{Bytes: 100, Seconds: 1, OpenSeconds: 1.2} }

func TestJudgeHoldsEachPromise(t *testing.T) {
	sc := scenario{name: "local", least: 0.90, overlaps: true}
	for name, c := range map[string]struct {
		change func(r *report)
		failed int
	}{
		"all held":                     {func(*report) {}, 0},
		"slower than the loop":         {func(r *report) { r.Seconds = 1.65 }, 1},
		"too much page-locked":         {func(r *report) { r.PageLocked = stagingCap }, 1},
		"reads once the device is":     {func(r *report) { r.Phases.FirstByte = 0.5 }, 1},
		"the wait is not in the rates": {func(r *report) { r.Phases.Device, r.Seconds = 0.9, 1.4 }, 0},
	} {
		load, s := quick(), &score{}
		c.change(&load)
		newOutcome([]report{load}, []report{loop()}).judge(s, sc, true)
		if s.failed != c.failed || s.passed+s.failed != 3 {
			t.Errorf("%s: %d failed, %d passed; want %d of 3 failed", name, s.failed, s.passed, c.failed)
		}
	}
	s := &score{}
	newOutcome([]report{quick()}, []report{loop()}).judge(s, scenario{least: 0.90}, true)
	if s.passed != 2 {
		t.Errorf("no overlap is promised there: %d passed", s.passed)
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
