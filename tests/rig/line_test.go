package rig

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsShareTheLine(t *testing.T) {
	for _, c := range []struct {
		connections int
		want        time.Duration // for 100 bytes on each
	}{
		{1, 10 * time.Second}, // the connection's rate
		{2, 10 * time.Second},
		{5, 20 * time.Second}, // the line's
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &Line{PerConnection: 10, Total: 25}
			time.Sleep(time.Hour) // an idle line saves nothing up
			start := time.Now()
			var g sync.WaitGroup
			for range c.connections {
				g.Go(func() {
					for range 10 {
						time.Sleep(l.Take(10))
					}
				})
			}
			g.Wait()
			if took := time.Since(start); (took - c.want).Abs() > time.Microsecond {
				t.Errorf("%d connections took %v, want %v", c.connections, took, c.want)
			}
		})
	}
}
