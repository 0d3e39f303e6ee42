package monitor

import (
	"strings"
	"testing"
	"time"
)

func TestBoundOf(t *testing.T) {
	busy := load{span: 2 * time.Second, served: 100e6, fetched: 100e6, waited: time.Second, getting: 64 * time.Second, unanswered: time.Second, gets: 32, limit: 32, ahead: 10, aheadLimit: 100, open: 1}
	for name, c := range map[string]struct {
		change func(*load)
		want   Bottleneck
		why    string
	}{
		"all GETs bring bytes":        {func(*load) {}, Line, "50 MB/s come by all of 32 GETs"},
		"one stream's GETs":           {func(l *load) { l.gets = 4 }, Line, "50 MB/s come by 4 GETs"},
		"long until the first byte":   {func(l *load) { l.unanswered = 32 * time.Second }, Store, "50% of the time"},
		"not so long":                 {func(l *load) { l.unanswered = 31 * time.Second }, Line, ""},
		"a reader between two GETs":   {func(l *load) { l.gets = 0 }, Line, "by 1 GET"},
		"attempts fail":               {func(l *load) { l.repeated, l.trouble = 20, "503 SlowDown" }, Store, "20 of 32: 503 SlowDown"},
		"one attempt failed":          {func(l *load) { l.repeated = 1 }, Line, ""},
		"past the shared cache":       {func(l *load) { l.direct, l.repeated = 50e6, 20 }, SharedCache, "--cache-direct-rate"},
		"no instance is asked":        {func(l *load) { l.cacheLost, l.fetched, l.unanswered = true, 0, l.getting }, SharedCache, "in its place"},
		"hardly past it":              {func(l *load) { l.direct = 49e6 }, Line, ""},
		"past it, and ready":          {func(l *load) { l.direct, l.waited = 100e6, 0 }, Reader, ""},
		"windows are short":           {func(l *load) { l.gets, l.ahead = 8, 95 }, Memory, "fetched ahead"},
		"full, by all GETs":           {func(l *load) { l.ahead = 100 }, Line, ""},
		"readers wait for memory":     {func(l *load) { l.forMemory = time.Second }, Memory, "readers wait for memory"},
		"a moment for memory":         {func(l *load) { l.forMemory = 20 * time.Millisecond }, Line, ""},
		"data is ready":               {func(l *load) { l.waited = 0 }, Reader, ""},
		"data is ready, and all full": {func(l *load) { l.waited, l.ahead = 0, 100 }, Reader, ""},
		"it hardly waits":             {func(l *load) { l.waited = 199 * time.Millisecond }, Reader, ""},
		"fetched ahead, not read":     {func(l *load) { l.waited, l.served = 0, 0 }, Reader, ""},
		"open, and not read":          {func(l *load) { *l = load{span: l.span, open: 2} }, Nothing, "2 files open"},
		"read by the kernel":          {func(l *load) { *l = load{span: l.span, open: 1, byKernel: 1} }, Nothing, "the kernel reads 1 file"},
		"nothing is open":             {func(l *load) { *l = load{span: l.span} }, Nothing, "no file is open"},
		"nothing is known yet":        {func(l *load) { *l = load{} }, Nothing, ""},
		"a store that says nothing":   {func(l *load) { l.served, l.fetched, l.unanswered = 0, 0, l.getting }, Store, "100%"},
	} {
		l := busy
		c.change(&l)
		if got := boundOf(l); got.By != c.want || !strings.Contains(got.Why, c.why) {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}
