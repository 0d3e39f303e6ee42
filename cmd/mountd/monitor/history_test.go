package monitor

import (
	"testing"
	"time"

	"weightfs/prefetch"
)

// TestThroughput fills a history for twice its length, at 100 bytes served and 50
// fetched a second, 1000 and 500 in the last minute.
func TestThroughput(t *testing.T) {
	var h history
	began := time.Unix(1_000_000, 0)
	counted := func(seconds int64) sample {
		fast := max(seconds-1140, 0)
		served := (seconds-fast)*100 + fast*1000
		return sample{at: began.Add(time.Duration(seconds) * time.Second), served: served, Totals: prefetch.Totals{FetchedBytes: served / 2}}
	}
	for s := int64(0); s < 1200; s += 5 {
		h.add(counted(s))
	}
	all := h.all()
	if len(all) != 121 || all[0].at != began.Add(595*time.Second) || all[120].at != began.Add(1195*time.Second) {
		t.Fatalf("%d samples, %v to %v", len(all), all[0].at, all[len(all)-1].at)
	}
	got := throughputOf(all, counted(1200))
	if got.Now != (Rates{1000, 500}) || got.Minute != (Rates{1000, 500}) {
		t.Errorf("now %+v, over a minute %+v", got.Now, got.Minute)
	}
	if ten := got.TenMinutes; ten.Served != 190 || ten.Fetched != 95 {
		t.Errorf("over ten minutes %+v", ten)
	}
	if len(got.History) != 121 {
		t.Fatalf("%d points", len(got.History))
	}
	if first, last := got.History[0], got.History[120]; first != (Point{600, Rates{100, 50}}) || last != (Point{0, Rates{1000, 500}}) {
		t.Errorf("from %+v to %+v", first, last)
	}
	// A sample of a moment ago says nothing of now: the one before it counts.
	got = throughputOf(all, sample{at: all[120].at.Add(time.Millisecond), served: all[120].served, Totals: all[120].Totals})
	if got.Now.Served < 999 || got.Now.Served > 1000 {
		t.Errorf("a millisecond later: %+v", got.Now)
	}
}

func TestThroughputOfAYoungMount(t *testing.T) {
	now := sample{at: time.Unix(100, 0), served: 500}
	if got := throughputOf(nil, now); got.Now != (Rates{}) || len(got.History) != 0 {
		t.Errorf("without a sample: %+v", got)
	}
	one := []sample{{at: time.Unix(98, 0)}}
	if got := throughputOf(one, now); got.TenMinutes.Served != 250 || len(got.History) != 1 {
		t.Errorf("with one: %+v", got)
	}
	if got := throughputOf([]sample{now}, now); got.Now != (Rates{}) || len(got.History) != 0 {
		t.Errorf("with one of this moment: %+v", got)
	}
}
