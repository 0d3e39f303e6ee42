package names

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"weightfs/remote"
)

// joinName returns the flight that asks for name alone: the one under way, or a new
// one. The caller holds mu.
func (c *Cache) joinName(f *folder, name string) *flight {
	fl := f.asked[name]
	if c.underWay(fl) {
		return fl
	}
	key := joinKey(f.dir, name)
	fl = c.begin(fmt.Sprintf("look up %q", key), func() {
		if f.asked[name] == fl {
			delete(f.asked, name)
		}
	})
	if f.asked == nil {
		f.asked = map[string]*flight{}
	}
	f.asked[name] = fl
	era := f.era
	c.wg.Go(func() {
		answer, err := c.fetchName(fl.ctx, key)
		if err == nil {
			c.singles.remember(era, name, answer)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil && !fl.over {
			fl.answer = &answer
		}
		c.end(fl, err)
		c.folders.recount(f)
	})
	return fl
}

// fetchName asks the store for the object at key and, at the same time, whether key
// is a directory. That one hides the object.
func (c *Cache) fetchName(ctx context.Context, key string) (Answer, error) {
	var wg sync.WaitGroup
	var below bool
	var errBelow error
	wg.Go(func() { below, errBelow = remote.Exists(ctx, c.store, key) })
	obj, err := c.store.Stat(ctx, key)
	wg.Wait()
	answer := Answer{Found: true, expires: c.expiry(time.Now())}
	switch {
	case below:
		answer.Entry = remote.Entry{Kind: remote.KindDir, Object: remote.Object{Key: key}}
	case errBelow != nil:
		return Answer{}, errBelow
	case notExist(err):
		answer.Found = false
	case err != nil:
		return Answer{}, err
	default:
		answer.Entry = remote.Entry{Object: obj}
	}
	return answer, nil
}

// joinListing returns the flight that lists f: the one under way, or a new one,
// which continues the draft. The caller holds mu.
func (c *Cache) joinListing(f *folder) *flight {
	now := time.Now()
	if f.draft != nil && c.underWay(f.draft.flight) {
		return f.draft.flight
	}
	if f.draft == nil || !fresh(c.expiry(f.draft.rested), now) {
		f.draft = &draft{table: table{dir: f.dir}, rested: now}
	}
	d := f.draft
	d.idle += now.Sub(d.rested)
	fl := c.begin(fmt.Sprintf("list %q", f.dir), func() { d.flight, d.rested = nil, time.Now() })
	d.flight = fl
	token := d.next
	c.wg.Go(func() { c.fetch(f, d, fl, token) })
	return fl
}

// fetch brings pages from token on: the first, and the others while callers need
// them.
func (c *Cache) fetch(f *folder, d *draft, fl *flight, token string) {
	for page, err := range remote.Pages(fl.ctx, c.store, f.dir, token) {
		if err != nil {
			c.fail(f, d, fl, err)
			return
		}
		if !c.addPage(f, d, fl, page) {
			return
		}
	}
	c.publish(f, d, fl)
}

// fail ends a flight after an error of the store. A draft of which not one more page
// came is dropped: its token may be refused for ever.
func (c *Cache) fail(f *folder, d *draft, fl *flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.draft == d && !fl.over && !fl.paged {
		f.draft = nil
	}
	if !fl.over {
		c.counts.Failures++
	}
	c.end(fl, err)
	c.folders.recount(f)
}

// addPage adds a page to the draft, and tells whether to go on.
func (c *Cache) addPage(f *folder, d *draft, fl *flight, page remote.Page) bool {
	text, records := pack(f.dir, page.Entries)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.over {
		return false
	}
	now := time.Now()
	c.counts.Pages++
	c.counts.LastPage = now
	if len(d.texts) == 0 {
		d.expires = c.expiry(now)
	}
	d.add(text, records, page)
	fl.since, fl.paged = now, true
	if page.Next == "" {
		return true
	}
	if d == f.draft {
		f.large = true
	}
	c.folders.recount(f)
	if fl.readers == 0 {
		c.end(fl, nil)
	}
	fl.closeFirst()
	return fl.readers > 0
}

// publish makes the draft, which has its last page, the listing.
func (c *Cache) publish(f *folder, d *draft, fl *flight) {
	c.mu.Lock()
	whole := d.table
	c.mu.Unlock()
	listing := newListing(whole)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.over {
		return
	}
	listing.expires = c.expiry(time.Now().Add(-d.idle))
	listing.outdated.Store(fl.outdated)
	var err error
	if !d.exists && f.dir != "" {
		listing, err = nil, fs.ErrNotExist
	}
	fl.listing = listing
	c.counts.Listings++
	c.end(fl, err)
	if d == f.draft {
		f.listing, f.draft, f.walk = listing, nil, nil
		f.large = len(d.texts) > 1
	}
	c.folders.recount(f)
	c.logger.Debug("listed", "dir", f.dir, "entries", len(d.records), "pages", len(d.texts), "err", err)
}

// expiry is when what the store says at the time now is out of date.
func (c *Cache) expiry(now time.Time) time.Time {
	if c.ttl < 0 {
		return time.Time{}
	}
	return now.Add(c.ttl)
}
