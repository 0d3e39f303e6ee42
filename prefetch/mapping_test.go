//go:build !race

package prefetch

import (
	"sync"
	"testing"
	"time"

	"weightfs/remote"
)

// mapping replays what the kernel asks for when a mapping is touched, with a
// readahead of 4 MiB: around a page that is missing it reads two MiB on either
// side, in requests of one MiB, and when the last quarter of that is touched it
// begins to read what follows.
type mapping struct {
	t     *testing.T
	r     *Reader
	size  int64
	pages []chan struct{} // by page: closed once it is there; nil: not asked for
	marks map[int64]bool  // pages that start what follows
	asked sync.WaitGroup  // requests under way
}

const (
	page      = 16 << 10
	readahead = 4 * mib
)

func newMapping(t *testing.T, r *Reader, size int64) *mapping {
	return &mapping{t: t, r: r, size: size, pages: make([]chan struct{}, size/page), marks: make(map[int64]bool)}
}

// request asks for what is missing of [lo, hi), in any order, and does not wait
// for it. All of it was sent before the reader goes on.
func (m *mapping) request(lo, hi int64) {
	hi = min(hi, m.size)
	for lo < hi {
		if m.pages[lo/page] != nil {
			lo += page
			continue
		}
		from, end, done := lo, lo, make(chan struct{})
		for end < hi && end-from < mib && m.pages[end/page] == nil {
			m.pages[end/page] = done
			end += page
		}
		m.asked.Go(func() {
			defer close(done)
			consume(m.t, m.r, from, end, mib, 1)
		})
		lo = end
	}
	time.Sleep(time.Microsecond)
}

// touch reads the page at off.
func (m *mapping) touch(off int64) {
	off = roundDown(off, page)
	if m.pages[off/page] == nil {
		m.request(max(off-readahead/2, 0), off+readahead/2)
		m.marks[off+readahead/4] = true
	} else if m.marks[off] {
		delete(m.marks, off)
		next := off
		for next < m.size && m.pages[next/page] != nil {
			next += page
		}
		m.request(next, next+readahead)
		m.marks[next] = true
	}
	<-m.pages[off/page]
}

// copyOut copies [lo, hi) as the C library copies what is large: its last
// vectors first, then from its beginning.
func (m *mapping) copyOut(lo, hi int64) {
	m.touch(hi - 1)
	for off := lo; off < hi; off += page {
		m.touch(off)
	}
}

// backwards copies [lo, hi) as the C library does where the ends of the
// addresses are alike: from its end.
func (m *mapping) backwards(lo, hi int64) {
	for off := hi - page; off >= lo; off -= page {
		m.touch(off)
	}
}

// Four shards one after the other, tensor after tensor.
func TestTensorsCopiedFromAMappingFillTheLine(t *testing.T) {
	const shard, header = gib / 2, page
	for _, tc := range []struct {
		name           string
		tensor, memory int64
		copyOut        func(m *mapping, lo, hi int64)
		least          float64 // of the line
	}{
		{"4 MiB", 4 * mib, 4 * gib, (*mapping).copyOut, 0.88},
		{"32 MiB", 32 * mib, 4 * gib, (*mapping).copyOut, 0.88},
		{"32 MiB, limit 512 MiB", 32 * mib, 512 * mib, (*mapping).copyOut, 0.8},
		{"128 MiB", 128 * mib, 4 * gib, (*mapping).copyOut, 0.88},
		{"4 MiB backwards", 4 * mib, 4 * gib, (*mapping).backwards, 0.88},
		{"32 MiB backwards", 32 * mib, 4 * gib, (*mapping).backwards, 0.6},
		{"32 MiB backwards, limit 512 MiB", 32 * mib, 512 * mib, (*mapping).backwards, 0.5},
		{"128 MiB backwards", 128 * mib, 4 * gib, (*mapping).backwards, 0.6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store, took := copiedShards(t, shard, tc.memory, func(m *mapping) {
				m.touch(0)
				for off := int64(header); off < shard; off += tc.tensor {
					tc.copyOut(m, off, min(off+tc.tensor, shard))
				}
			})
			if got := 4 * shard / took.Seconds() / store.Total; got < tc.least {
				t.Errorf("%.2f of the line", got)
			}
			if store.fetched > 4*shard*102/100 {
				t.Errorf("fetched %.3f of the size", float64(store.fetched)/(4*shard))
			}
		})
	}
}

// copiedShards reads four shards, each through a mapping of its own.
func copiedShards(t *testing.T, shard, memory int64, read func(*mapping)) (*shapedStore, time.Duration) {
	object := func(i int) remote.Object {
		return remote.Object{Key: string(rune('1' + i)), Size: shard, Version: "1"}
	}
	cfg := Config{MemoryLimit: memory, Successor: func(obj remote.Object) (remote.Object, bool) {
		i := int(obj.Key[0]-'1') + 1
		return object(i), i < 4
	}}
	return pattern(t, 4*shard, cfg, func(t *testing.T, c *Cache, _ remote.Object) {
		for i := range 4 {
			r := c.Open(object(i))
			m := newMapping(t, r, shard)
			read(m)
			m.asked.Wait()
			r.Close()
		}
	})
}

// One reader that copies every eighth tensor of 32 MiB. The kernel reads around
// both of its ends, and the look at its end passes for the beginning of a stream.
func TestSkippedTensorsOfAMappingAreNotFetched(t *testing.T) {
	const size, tensor = 4 * gib, 32 * mib
	store, _ := pattern(t, size, Config{MemoryLimit: 2 * gib}, func(t *testing.T, c *Cache, obj remote.Object) {
		r := c.Open(obj)
		defer r.Close()
		m := newMapping(t, r, size)
		m.touch(0)
		for off := int64(page); off+tensor < size; off += 8 * tensor {
			m.copyOut(off, off+tensor)
		}
		m.asked.Wait()
	})
	const asked = size / 8
	if store.fetched > asked*145/100 {
		t.Errorf("fetched %.2f of what was asked for", float64(store.fetched)/asked)
	}
}

// A whole object, from its end.
func TestObjectReadBackwardsFillsTheLine(t *testing.T) {
	const size = 2 * gib
	store, took := pattern(t, size, Config{MemoryLimit: 4 * gib}, func(t *testing.T, c *Cache, obj remote.Object) {
		r := c.Open(obj)
		defer r.Close()
		m := newMapping(t, r, size)
		m.backwards(0, size)
		m.asked.Wait()
	})
	if got := size / took.Seconds() / store.Total; got < 0.85 {
		t.Errorf("%.2f of the line", got)
	}
	if store.fetched > size*102/100 {
		t.Errorf("fetched %.3f of the size", float64(store.fetched)/size)
	}
}
