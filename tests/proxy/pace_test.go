package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBodyKeepsItsRate(t *testing.T) {
	for _, tt := range []struct {
		name string
		late time.Duration // how late each piece is asked for
		idle time.Duration // pause before the first one
		rate int64
		want time.Duration // when the last of 100 pieces of 1000 bytes passes
	}{
		{name: "on time", rate: 1e6, want: 100 * time.Millisecond},
		{name: "late timers are made up for", late: 500 * time.Microsecond, rate: 1e6, want: 100 * time.Millisecond},
		{name: "idle time is lost beyond the catch-up", idle: time.Second, rate: 1e6, want: time.Second + 90*time.Millisecond},
		{name: "unlimited"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, start := newPace(tt.rate), time.Now()
			at := start
			time.Sleep(tt.idle)
			for range 100 {
				if at = turn(l, 1000); time.Until(at) > 0 {
					time.Sleep(time.Until(at) + tt.late)
				}
			}
			if got := at.Sub(start); (got - tt.want).Abs() > time.Microsecond {
				t.Errorf("%s: last byte at %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}
