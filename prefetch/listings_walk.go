package prefetch

import (
	"time"

	"weightfs/remote"
)

const (
	// maxAhead is how many directories are listed ahead of a walk, and how many
	// such requests are under way for all walks together. At 50 ms a request,
	// find visits a thousand folders in 2 s in place of 50; more gained little.
	maxAhead = 32
	// maxWalks bounds the walks that are followed. Losing one costs a step.
	maxWalks = 64
)

// walk follows somebody who lists the subdirectories of one directory, one
// after the other as the listing has them: find does, and du. What comes next is
// then listed ahead, the more the longer it goes on.
type walk struct {
	last   int // the index of the subdirectory listed last
	next   int // the index of the one that would go on with the walk
	ahead  int // subdirectories before this index were listed, or are being
	window int // how many are listed ahead
}

// newWalk starts at the subdirectory with that index.
func newWalk(entries []remote.Entry, index int) *walk {
	return &walk{last: index, next: nextDir(entries, index+1), ahead: index + 1}
}

// step tells of one more listing and returns the indexes of the subdirectories
// to list ahead, room of them at most.
func (w *walk) step(entries []remote.Entry, index, room int) []int {
	if index == w.last {
		return nil
	}
	if index != w.next {
		*w = *newWalk(entries, index)
		return nil
	}
	w.last, w.next = index, nextDir(entries, index+1)
	w.window = min(max(2, 2*w.window), maxAhead)
	w.ahead = max(w.ahead, index+1)
	var chosen []int
	at, covered := w.next, 0
	for at < len(entries) && covered < w.window && len(chosen) < room {
		if at >= w.ahead {
			chosen = append(chosen, at)
			w.ahead = at + 1
		}
		covered++
		at = nextDir(entries, at+1)
	}
	return chosen
}

// nextDir is the index of the first directory at from or behind it.
func nextDir(entries []remote.Entry, from int) int {
	for from < len(entries) && entries[from].Kind != remote.KindDir {
		from++
	}
	return from
}

// listAhead starts the listings that are likely to follow that of dir.
func (l *Listings) listAhead(dir string) {
	if dir == "" {
		return
	}
	parent, name := splitKey(dir)
	listing, ok := l.peek(parent)
	if !ok {
		return
	}
	index, ok := listing.index(name)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.walks[parent]
	if !ok || w.listing != listing {
		if len(l.walks) == maxWalks {
			clear(l.walks)
		}
		l.walks[parent] = &listedWalk{listing: listing, walk: *newWalk(listing.entries, index)}
		return
	}
	for _, i := range w.step(listing.entries, index, maxAhead-l.ahead) {
		l.startAhead(listing.entries[i].Key)
	}
}

// listedWalk is a walk through one listing.
type listedWalk struct {
	walk
	listing *Listing
}

// startAhead starts the fetch of dir if nothing is known of it. The caller
// holds mu.
func (l *Listings) startAhead(dir string) {
	if _, ok := l.flights[dir]; ok || l.closed {
		return
	}
	if now := time.Now(); l.retained(dir, now) != nil || l.latest(dir, now) != nil {
		return
	}
	l.ahead++
	l.start(dir, func() { l.ahead-- })
}
