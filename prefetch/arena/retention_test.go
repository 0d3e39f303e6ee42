package arena

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// cache is what a trace is run against: access reads a block of a model, and says
// whether it was there.
type cache interface{ access(model, block int) bool }

// arenaCache is the arena, whose objects are forgotten between loads.
type arenaCache struct {
	t       *testing.T
	a       *Arena
	numbers map[int]Number
}

func (c *arenaCache) access(model, block int) bool {
	n, ok := c.numbers[model]
	if !ok {
		n = c.a.Add(owner{}, 1<<40, uint64(model)*0x9E3779B97F4A7C15)
		c.numbers[model] = n
	}
	off := int64(block) * BlockSize
	if read(c.t, c.a, n, off, off+BlockSize) {
		return true
	}
	var l Lease
	if !c.a.Lease(&l, n, off, off+BlockSize) || !fill(c.a, n, off, off+BlockSize) {
		c.t.Fatal("no memory")
	}
	c.a.Served(&l, off, off+BlockSize)
	c.a.Release(&l)
	return false
}

// lru is what least recently used blocks alone would do.
type lru struct {
	blocks int
	used   [][2]int // the last in front
}

func (c *lru) access(model, block int) bool {
	key := [2]int{model, block}
	i := slices.Index(c.used, key)
	if i >= 0 {
		c.used = slices.Delete(c.used, i, i+1)
	} else if len(c.used) == c.blocks {
		c.used = c.used[:c.blocks-1]
	}
	c.used = slices.Insert(c.used, 0, key)
	return i >= 0
}

// load is a model's blocks in order.
func load(c cache, model, blocks int) (hits int) {
	for block := range blocks {
		if c.access(model, block) {
			hits++
		}
	}
	return hits
}

// TestRetention holds what of the last load of a trace is there, and that plain
// recency has no more.
func TestRetention(t *testing.T) {
	const blocks = 200
	for _, tc := range []struct {
		name  string
		trace func(c cache) int // hits
		least int
	}{
		{"a model again", func(c cache) int { load(c, 1, 180); return load(c, 1, 180) }, 180},
		{"A, B, A, too large for both", func(c cache) int { load(c, 1, 120); load(c, 2, 120); return load(c, 1, 120) }, 0},
		{"read twice, whatever was read before it", func(c cache) int {
			for _, model := range []int{1, 1, 1, 2, 2} {
				load(c, model, 150)
			}
			return load(c, 2, 150)
		}, 150},
		{"read twice, then ten others", func(c cache) int {
			load(c, 1, 120)
			load(c, 1, 120)
			for other := range 10 {
				load(c, 2+other, 80)
			}
			return load(c, 1, 120)
		}, 120},
		{"thirty models, some more often", func(c cache) (hits int) {
			zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 29)
			for range 150 {
				hits += load(c, int(zipf.Uint64()), 30)
			}
			return hits
		}, 150 * 30 * 57 / 100},
		{"eight ranks", func(c cache) (hits int) {
			for step := range 400 + 8*5 {
				for rank := range 8 {
					if block := step - 5*rank; 0 <= block && block < 400 && c.access(1, block) {
						hits++
					}
				}
			}
			return hits
		}, 7 * 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.trace(&arenaCache{t, newArena(t, blocks), make(map[int]Number)})
			recency := tc.trace(&lru{blocks: blocks})
			t.Logf("%d hits, plain recency %d", got, recency)
			if got < tc.least || got < recency {
				t.Errorf("%d hits, want %d, plain recency has %d", got, tc.least, recency)
			}
		})
	}
}

// Ghosts are forgotten when they are taken, and in the order that they came.
func TestGhosts(t *testing.T) {
	g := make(ghosts, 16)
	key := func(i int) uint64 { return uint64(i) * 0x9E3779B97F4A7C15 }
	for i := range 1000 {
		g.add(key(i))
	}
	taken := 0
	for i := 1000 - 64; i < 1000; i++ { // half of what there is room for
		if g.take(key(i)) {
			taken++
		}
		if g.take(key(i)) {
			t.Errorf("%d is remembered twice", i)
		}
	}
	if taken < 60 {
		t.Errorf("%d of the last 64 are remembered", taken)
	}
	if g.take(key(1)) {
		t.Error("the first is remembered for ever")
	}
}
