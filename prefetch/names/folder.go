package names

import (
	"container/list"
	"time"

	"weightfs/remote"
)

const (
	// folderCost is what a directory takes beside its names, in entries of a
	// listing.
	folderCost = 8
)

// folder is what is known of one directory.
type folder struct {
	dir string

	listing *Listing           // the latest whole one, maybe out of date; nil: none
	draft   *draft             // of the next one; nil: none
	large   bool               // its first page was not all
	era     uint64             // of what is remembered in singles; another one after each forget
	asked   map[string]*flight // names that are being asked for
	walk    *walk              // of somebody through the listing; nil: nobody

	element *list.Element // in folders.recent; nil once it was dropped
	cost    int           // as counted in folders.entries
}

// answer returns what is known of name at the time now.
func (f *folder) answer(name string, now time.Time) (Answer, bool) {
	if f.listing.fresh(now) {
		return f.listing.answer(name), true
	}
	if f.draft != nil && fresh(f.draft.expires, now) {
		return f.draft.answer(name)
	}
	return Answer{}, false
}

// find returns the entry called name, be it out of date.
func (f *folder) find(name string) (entry remote.Entry, ok bool) {
	if f.listing != nil {
		entry, ok = f.listing.Find(name)
	}
	if !ok && f.draft != nil {
		entry, ok = f.draft.find(name)
	}
	return entry, ok
}

// forget forgets all that the store has said or was asked so far.
func (f *folder) forget() {
	if f.listing != nil {
		f.listing.outdated.Store(true)
	}
	if f.draft != nil && f.draft.flight != nil {
		f.draft.flight.outdated = true
	}
	for _, fl := range f.asked {
		fl.outdated = true
	}
	f.listing, f.draft, f.asked, f.walk = nil, nil, nil, nil
}

// size is what the folder takes, in entries of a listing.
func (f *folder) size() int {
	n := folderCost
	if f.listing != nil {
		n += f.listing.Len()
	}
	if f.draft != nil {
		n += f.draft.Len()
	}
	return n
}

// flying tells whether a listing is under way.
func (f *folder) flying() bool { return f.draft != nil && f.draft.flight != nil }

// folders are the directories that something is known of, in their order of use.
type folders struct {
	byDir   map[string]*folder
	recent  *list.List // of *folder; the one used last is at the front
	entries int
	limit   int    // of entries
	lastEra uint64 // that a folder was given
}

func newFolders(limit int) folders {
	return folders{byDir: map[string]*folder{}, recent: list.New(), limit: limit}
}

// use returns the folder of dir, used last from now on.
func (s *folders) use(dir string) *folder {
	f, ok := s.byDir[dir]
	if ok {
		s.recent.MoveToFront(f.element)
		return f
	}
	f = &folder{dir: dir}
	s.begin(f)
	f.element = s.recent.PushFront(f)
	s.byDir[dir] = f
	return f
}

// begin gives f an era of its own: what was remembered of single names in its
// directory before is not found any more.
func (s *folders) begin(f *folder) {
	s.lastEra++
	f.era = s.lastEra
}

// recount counts f again after a change. Where there are too many entries, it drops
// the least used folders, but neither f nor one that is being listed.
func (s *folders) recount(f *folder) {
	if f.element == nil {
		return
	}
	s.entries += f.size() - f.cost
	f.cost = f.size()
	if f.cost == folderCost && f.listing == nil && !f.large && !f.flying() && len(f.asked) == 0 {
		s.drop(f) // nothing is known of it: it is not there, or could not be listed
		return
	}
	for e := s.recent.Back(); e != nil && s.entries > s.limit; {
		oldest := e.Value.(*folder)
		e = e.Prev()
		if oldest != f && !oldest.flying() {
			s.drop(oldest)
		}
	}
}

// drop forgets f.
func (s *folders) drop(f *folder) {
	if f.element == nil {
		return
	}
	delete(s.byDir, f.dir)
	s.recent.Remove(f.element)
	s.entries -= f.cost
	f.element = nil
}
