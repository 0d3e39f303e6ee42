package names

import "time"

// maxAhead is how many directories are listed ahead of a walk, and how many such
// flights there are for all walks together. At 50 ms a request, find visits a
// thousand folders in 2 s in place of 50; more gained little.
const maxAhead = 32

// walk follows somebody who lists the subdirectories of one directory, one
// after the other as the listing has them: find does, and du. What comes next is
// then listed ahead, the more the longer it goes on.
type walk struct {
	listing *Listing
	last    int // the index of the subdirectory listed last
	next    int // the index of the one that would go on with the walk
	ahead   int // subdirectories before this index were listed, or are being
	window  int // how many are listed ahead
}

// newWalk starts at the subdirectory with that index.
func newWalk(l *Listing, index int) *walk {
	return &walk{listing: l, last: index, next: l.nextDir(index + 1), ahead: index + 1}
}

// step tells of one more listing and returns the indexes of the subdirectories
// to list ahead, room of them at most.
func (w *walk) step(index, room int) []int {
	if index == w.last {
		return nil
	}
	if index != w.next {
		*w = *newWalk(w.listing, index)
		return nil
	}
	w.last, w.next = index, w.listing.nextDir(index+1)
	w.window = min(max(2, 2*w.window), maxAhead)
	w.ahead = max(w.ahead, index+1)
	var chosen []int
	at, covered := w.next, 0
	for at < w.listing.Len() && covered < w.window && len(chosen) < room {
		if at >= w.ahead {
			chosen = append(chosen, at)
			w.ahead = at + 1
		}
		covered++
		at = w.listing.nextDir(at + 1)
	}
	return chosen
}

// nextDir is the index of the first directory at from or behind it.
func (l *Listing) nextDir(from int) int {
	for from < l.Len() && !l.isDir(from) {
		from++
	}
	return from
}

// listAhead starts the listings that are likely to follow that of dir. The caller
// holds mu.
func (c *Cache) listAhead(dir string) {
	parent, name := splitKey(dir)
	f, ok := c.folders.byDir[parent]
	if !ok || dir == "" || !f.listing.fresh(time.Now()) {
		return
	}
	index, ok := f.listing.index(0, f.listing.Len(), name)
	if !ok {
		return
	}
	if f.walk == nil {
		f.walk = newWalk(f.listing, index)
		return
	}
	for _, i := range f.walk.step(index, maxAhead-c.ahead) {
		c.startAhead(joinKey(parent, f.listing.name(i)))
	}
}

// startAhead starts the first page of dir if nothing is known of it. The caller
// holds mu.
func (c *Cache) startAhead(dir string) {
	if c.ahead >= maxAhead {
		return
	}
	if f, ok := c.folders.byDir[dir]; ok && (f.listing.fresh(time.Now()) || f.draft != nil || f.large) {
		return
	}
	c.ahead++
	c.joinListing(c.folders.use(dir)).ahead = true
}
