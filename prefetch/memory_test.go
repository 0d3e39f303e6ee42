package prefetch

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Files of 4 KiB take 16 KiB each: of 200,000 that were read through 64 MiB, more
// than 2,000 are still there, and the others are forgotten.
func TestSmallFilesTakeLittle(t *testing.T) {
	const files, size = 200_000, 4 << 10
	c := newCache(t, benchStore{}, Config{MemoryLimit: 64 * mib})
	look := func(i int) {
		r := c.Open(benchObject(fmt.Sprint(i), size))
		v, err := r.View(t.Context(), 0, size)
		if err != nil {
			t.Fatal(err)
		}
		v.Release()
		r.Close()
	}
	for i := range files {
		look(i)
	}
	s := c.Stats()
	for i := range 4000 { // a hit evicts nothing
		look(files - 1 - i)
	}
	if hits := c.Stats().Hits - s.Hits; hits < 2000 {
		t.Errorf("%d of the last files are there", hits)
	}
	if s.Files > 64*64 {
		t.Errorf("%d objects are known", s.Files)
	}
}

// Memory that nobody uses goes back to the node if that is short of it: within ten
// seconds after a minute, to a tenth of the limit. On a node that is not short it
// stays. Before anything is read nothing is resident.
func TestIdleMemoryGoesBack(t *testing.T) {
	for _, share := range []bool{false, true} {
		t.Run(fmt.Sprint("share=", share), func(t *testing.T) { testIdleMemoryGoesBack(t, share) })
	}
}

func testIdleMemoryGoesBack(t *testing.T, share bool) {
	synctest.Test(t, func(t *testing.T) {
		var short atomic.Bool
		store := newMemStore(t, map[string]int64{"a": 64 * mib})
		c, err := newOn(store, Config{MemoryLimit: 64 * mib, Mode: Off, Share: share}, short.Load)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		resident := func(after time.Duration, want int64) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := c.Stats().BlocksResident; got != want {
				t.Errorf("%d blocks are resident, want %d", got, want)
			}
		}
		resident(time.Hour, 0)
		r := c.Open(store.Object("a"))
		defer r.Close()
		if err := readAt(t.Context(), r, store.Data("a"), 0, mib); err != nil {
			t.Fatal(err)
		}
		resident(3*time.Second, 1+64/4) // what comes next finds memory ready
		if err := readAll(t.Context(), r, store.Data("a"), mib); err != nil {
			t.Fatal(err)
		}
		resident(time.Hour, 64)
		if err := readAt(t.Context(), r, store.Data("a"), 0, mib); err != nil {
			t.Fatal(err)
		}
		short.Store(true)
		resident(59*time.Second, 64)
		resident(11*time.Second, 6)
		if err := readAll(t.Context(), r, store.Data("a"), mib); err != nil {
			t.Error(err)
		}
	})
}

func TestPressure(t *testing.T) {
	for text, want := range map[string]float64{
		"some avg10=1.53 avg60=0.40 avg300=0.09 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n": 1.53,
		"some avg10=0.00 avg60=9.00 avg300=0.09 total=123\n":                                                 0,
		"": 0,
	} {
		if got := pressure([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
