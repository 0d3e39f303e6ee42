package prefetch

import (
	"testing"
	"time"
)

func TestConnections(t *testing.T) {
	type get struct {
		n    int64
		took time.Duration
	}
	for _, tc := range []struct {
		name    string
		gets    []get
		carried float64 // by all, afterwards; 0: not known
		want    int
	}{
		{"nothing is known", nil, 0, 16},
		{"nothing but the throughput is known", nil, 1e9, 16},
		{"a distant store", []get{{mib, 56 * time.Millisecond}, {8 * mib, 240 * time.Millisecond}}, 500e6, 16},
		{"a distant store of fast connections", []get{{8 * mib, 123 * time.Millisecond}}, 5e9, 16},
		{"between", []get{{8 * mib, 50 * time.Millisecond}}, 0, 8},
		{"a store beside us", []get{{16 * mib, 10 * time.Millisecond}}, 2.5e9, 4},
		{"the best GET counts", []get{{mib, 4 * time.Millisecond}, {mib, time.Second}}, 0, 5},
		{"a small one says nothing", []get{{mib - 1, time.Microsecond}}, 0, 16},
		{"nor one that took no time", []get{{mib, 0}}, 0, 16},
		{"one cannot carry more than all", []get{{mib, time.Millisecond}}, 60e6, 16},
	} {
		var r connectionRate
		for _, g := range tc.gets {
			r.fetched(g.n, g.took)
		}
		r.carried(tc.carried)
		if got := r.connections(); got != tc.want {
			t.Errorf("%s: %d connections, want %d", tc.name, got, tc.want)
		}
	}
}
