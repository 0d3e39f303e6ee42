package proxy

import (
	"testing"
	"time"
)

func TestPacerKeepsItsRate(t *testing.T) {
	start := time.Unix(0, 0)
	tests := []struct {
		name string
		late time.Duration // how late each chunk is asked for
		idle time.Duration // pause before the first chunk, after begin
		rate int64
		want time.Duration // when the last of 100 chunks of 1000 bytes passes
	}{
		{name: "on time", rate: 1e6, want: 100 * time.Millisecond},
		{name: "late timers are made up for", late: 500 * time.Microsecond, rate: 1e6, want: 100 * time.Millisecond},
		{name: "idle time is lost beyond the catch-up", idle: time.Second, rate: 1e6, want: time.Second + 90*time.Millisecond},
		{name: "unlimited", rate: 0, want: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pacer
			p.setRate(tt.rate)
			p.begin(start)
			now := start.Add(tt.idle)
			var at time.Time
			for range 100 {
				at = p.schedule(now, 1000)
				if at.After(now) {
					now = at.Add(tt.late)
				}
			}
			if got := at.Sub(start); (got - tt.want).Abs() > time.Microsecond {
				t.Errorf("last byte at %v, want %v", got, tt.want)
			}
		})
	}
}
