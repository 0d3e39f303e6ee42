package stream

import (
	"testing"
	"time"
)

// simulate feeds the adapter with a store that gives each request perRequest
// bytes a second up to total, and returns where the limit settles.
func simulate(c *Concurrency, perRequest, total float64, periods int) int {
	now := time.Unix(0, 0)
	c.Landed(0, now)
	for range periods {
		now = now.Add(samplePeriod)
		c.Saturated()
		c.Landed(int64(min(perRequest*float64(c.limit), total)*samplePeriod.Seconds()), now)
	}
	return c.limit
}

func TestConcurrencyGrowsToTheStoresLimit(t *testing.T) {
	for _, tc := range []struct {
		name              string
		perRequest, total float64
		least, most       int
	}{
		{"one connection is enough", 1e9, 1e9, startConcurrency, startConcurrency * 3 / 2},
		{"13 connections fill it", 40e6, 500e6, startConcurrency, startConcurrency * 3 / 2},
		{"56 connections fill it", 90e6, 5e9, 56, 108},
		{"nothing fills it", 90e6, 1e12, 200, MaxConcurrency},
	} {
		c := NewConcurrency(0)
		if got := simulate(&c, tc.perRequest, tc.total, 30); got < tc.least || got > tc.most {
			t.Errorf("%s: settles at %d", tc.name, got)
		}
	}
}

func TestConcurrencyDoesNotGrowUnlessItLimits(t *testing.T) {
	c := NewConcurrency(0)
	now := time.Unix(0, 0)
	for range 100 {
		now = now.Add(samplePeriod)
		c.Landed(1e9, now)
	}
	if c.limit != startConcurrency {
		t.Errorf("grew to %d", c.limit)
	}
}

func TestFixedConcurrency(t *testing.T) {
	c := NewConcurrency(7)
	simulate(&c, 90e6, 1e12, 30)
	if c.Speculative() != 7 || c.Demanded() != 7 {
		t.Errorf("fixed at 7: %d, %d", c.Speculative(), c.Demanded())
	}
}

// Time in which nothing was fetched says nothing of the throughput.
func TestConcurrencyForgetsIdleTime(t *testing.T) {
	c := NewConcurrency(0)
	now := time.Unix(0, 0)
	c.Begin(now)
	c.Saturated()
	c.Landed(1, now.Add(samplePeriod)) // the first period; the limit grows, to be judged
	if c.limit <= startConcurrency {
		t.Fatalf("did not grow: %+v", c)
	}
	now = now.Add(time.Hour)
	c.Begin(now)
	c.Landed(1<<20, now.Add(samplePeriod))
	if c.limit != startConcurrency || c.wait != 0 || c.before != 0 {
		t.Errorf("after an hour's idleness a growth is judged by what was before: %+v", c)
	}
}

// Readers that come and go bring no growth that nobody has judged.
func TestConcurrencyDoesNotGrowByBursts(t *testing.T) {
	for name, end := range map[string]func(c *Concurrency, now time.Time){
		"idle":        func(c *Concurrency, now time.Time) { c.Begin(now) },
		"unsaturated": func(c *Concurrency, now time.Time) { c.Landed(1, now) },
	} {
		c := NewConcurrency(0)
		now := time.Unix(0, 0)
		c.Begin(now)
		for range 20 {
			c.Saturated()
			now = now.Add(samplePeriod)
			c.Landed(1<<20, now)
			now = now.Add(samplePeriod)
			end(&c, now)
		}
		if c.limit != startConcurrency {
			t.Errorf("%s: grew to %d", name, c.limit)
		}
	}
}
