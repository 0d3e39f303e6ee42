package remote

import (
	"testing"
	"time"
)

func TestConnections(t *testing.T) {
	const mib = 1 << 20
	type get struct {
		n    int64
		took time.Duration
	}
	for _, tc := range []struct {
		name    string
		gets    []get
		carried float64 // by all, afterwards; 0: not known
		want    int
		factor  int64
	}{
		{"nothing is known", nil, 0, 16, 1},
		{"nothing but the throughput is known", nil, 1e9, 16, 1},
		{"a distant store", []get{{mib, 56 * time.Millisecond}, {8 * mib, 240 * time.Millisecond}}, 500e6, 16, 1},
		{"a distant store of fast connections", []get{{8 * mib, 123 * time.Millisecond}}, 5e9, 16, 1},
		{"between", []get{{8 * mib, 50 * time.Millisecond}}, 0, 8, 2},
		{"a store beside us", []get{{16 * mib, 10 * time.Millisecond}}, 2.5e9, 4, 4},
		{"the best GET counts", []get{{mib, 4 * time.Millisecond}, {mib, time.Second}}, 0, 5, 2},
		{"a small one says nothing", []get{{mib - 1, time.Microsecond}}, 0, 16, 1},
		{"nor one that took no time", []get{{mib, 0}}, 0, 16, 1},
		{"one cannot carry more than all", []get{{mib, time.Millisecond}}, 60e6, 16, 1},
	} {
		var r Connections
		for _, g := range tc.gets {
			r.Fetched(g.n, g.took)
		}
		r.Carried(tc.carried)
		if got, factor := r.Busy(), r.PartFactor(); got != tc.want || factor != tc.factor {
			t.Errorf("%s: %d connections with parts %d times as large, want %d and %d", tc.name, got, factor, tc.want, tc.factor)
		}
	}
}
