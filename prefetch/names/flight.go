package names

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weightfs/remote"
)

// flight is a question to the store that is under way, and all who wait for its
// answer: the pages of a listing, or one name. What is not said to be guarded does
// not change, or is set before done is closed.
type flight struct {
	what   string // for errors
	ctx    context.Context
	cancel context.CancelFunc
	first  chan struct{} // closed when the first page has come, or at the end
	done   chan struct{} // closed at the end

	since    time.Time // guarded by Cache.mu; of the last page, or the beginning
	paged    bool      // guarded by Cache.mu; a page has come
	waiting  int       // guarded by Cache.mu; callers
	readers  int       // guarded by Cache.mu; those that need every page
	outdated bool      // guarded by Cache.mu; begun before an Invalidate
	ahead    bool      // nobody has asked for it
	over     bool      // guarded by Cache.mu
	silent   bool      // given up because nothing came
	leave    func()    // takes it from its folder; with Cache.mu held

	listing *Listing  // the outcome, or
	answer  *Answer   // that for one name, or
	err     error     // the failure
	late    time.Time // when half of the time was over in which nothing came

	trouble atomic.Pointer[error] // why the last attempt failed; nil if none did
}

// begin makes a flight. The caller holds mu.
func (c *Cache) begin(what string, leave func()) *flight {
	fl := &flight{what: what, since: time.Now(), leave: leave, first: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(c.ctx)
	fl.ctx = remote.WithTrouble(ctx, func(cause error) { fl.trouble.Store(&cause) })
	fl.cancel = cancel
	return fl
}

// end ends a flight, if it is not over. The caller holds mu.
func (c *Cache) end(fl *flight, err error) {
	if fl.over {
		return
	}
	now := time.Now()
	fl.over, fl.late = true, fl.since.Add(now.Sub(fl.since)/2)
	if err != nil {
		fl.err = fmt.Errorf("%s: %w", fl.what, err)
	}
	if fl.ahead {
		c.ahead--
	}
	fl.leave()
	fl.cancel()
	fl.landFirst()
	close(fl.done)
}

// landFirst tells that the first page has come. The caller holds mu.
func (fl *flight) landFirst() {
	select {
	case <-fl.first:
	default:
		close(fl.first)
	}
}

// await waits until ready is closed, for ctx, or until nothing has come for as long
// as the read time-out says. The caller was counted among the waiting.
func (c *Cache) await(ctx context.Context, fl *flight, ready <-chan struct{}, came time.Time) error {
	timer := time.NewTimer(c.wait - time.Since(came))
	defer timer.Stop()
	for {
		select {
		case <-ready:
			c.mu.Lock()
			defer c.mu.Unlock()
			fl.waiting--
			return fl.err
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			fl.waiting--
			return fmt.Errorf("%s: %w", fl.what, ctx.Err())
		case <-timer.C:
			left, err := c.tire(fl, came)
			if err != nil {
				return err
			}
			timer.Reset(left)
		}
	}
}

// tire is for a caller whose time may be over. It returns how much of it is left,
// or the error. A request that was silent for all of the time-out ends, and one that
// nobody else waits for: it may stay silent for minutes after the store has come
// back.
func (c *Cache) tire(fl *flight, came time.Time) (left time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := c.left(fl, came); left > 0 {
		return left, nil
	}
	fl.waiting--
	err = c.silence(fl)
	if fl.waiting == 0 || time.Since(fl.since) >= c.wait {
		c.giveUp(fl)
	}
	return 0, fmt.Errorf("%s: %w", fl.what, err)
}

// left is how much longer who came then waits: for so long after the last page, or
// since he came. The caller holds mu.
func (c *Cache) left(fl *flight, came time.Time) time.Duration {
	if fl.paged && fl.since.After(came) {
		came = fl.since
	}
	return c.wait - time.Since(came)
}

// silence is the error of a flight of which nothing comes.
func (c *Cache) silence(fl *flight) error {
	err := fmt.Errorf("no answer within %v: %w", c.wait, os.ErrDeadlineExceeded)
	if trouble := fl.trouble.Load(); trouble != nil {
		err = fmt.Errorf("%w: %w", err, *trouble)
	}
	return err
}

// giveUp ends a flight of which nothing comes. The caller holds mu.
func (c *Cache) giveUp(fl *flight) {
	fl.silent = fl.silent || !fl.over
	c.end(fl, c.silence(fl))
}

// underWay tells whether a flight is one to join. One that was silent for the whole
// read time-out is given up. The caller holds mu.
func (c *Cache) underWay(fl *flight) bool {
	if fl != nil && time.Since(fl.since) >= c.wait {
		c.giveUp(fl)
		return false
	}
	return fl != nil
}

// failedTooSoon tells whether who came then asks anew after a flight has failed.
// Where it was given up for its silence, that is who has time left. Otherwise it is
// who came when half of the time was over in which nothing came: the store may be
// back, and he has hardly waited. That there is no such directory is true for all.
func (c *Cache) failedTooSoon(fl *flight, came time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !fl.over || fl.err == nil || notExist(fl.err):
		return false
	case fl.silent:
		return c.left(fl, came) > 0
	}
	return came.After(fl.late)
}

// answerOf returns what a flight says of name, if it does. It does not if it was
// begun before an Invalidate.
func (c *Cache) answerOf(fl *flight, name string) (answer Answer, ok, outdated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case fl.outdated:
		return Answer{}, false, true
	case fl.answer != nil:
		return *fl.answer, true, false
	case fl.listing != nil:
		return fl.listing.answer(name), true, false
	}
	return Answer{}, false, false
}

// ask asks for name alone, or returns the flight that does. The caller holds mu.
func (c *Cache) ask(f *folder, name string) *flight {
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
	c.wg.Go(func() {
		answer, err := c.fetchName(fl.ctx, key)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil && !fl.over {
			fl.answer = &answer
			if !fl.outdated {
				f.remember(name, answer, c.folders.limit)
			}
		}
		c.end(fl, err)
		c.folders.recount(f)
	})
	return fl
}

// fetchName asks the store for the object at key and, at once, whether it is a
// directory, which hides an object.
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

// fly returns the flight of the listing of f: the one under way, or one that
// continues the draft. The caller holds mu.
func (c *Cache) fly(f *folder) *flight {
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
		if !c.land(f, d, fl, page) {
			return
		}
	}
	c.finish(f, d, fl)
}

// fail ends a flight that the store failed for good. What was refused at once would
// be refused again: that draft is given up.
func (c *Cache) fail(f *folder, d *draft, fl *flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.draft == d && !fl.over && !fl.paged {
		f.draft = nil
	}
	c.end(fl, err)
	c.folders.recount(f)
}

// land adds a page to the draft, and tells whether to go on.
func (c *Cache) land(f *folder, d *draft, fl *flight, page remote.Page) bool {
	text, records := pack(f.dir, page.Entries)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.over {
		return false
	}
	now := time.Now()
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
	fl.landFirst()
	return fl.readers > 0
}

// finish makes the draft, which has its last page, the listing.
func (c *Cache) finish(f *folder, d *draft, fl *flight) {
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
	c.end(fl, err)
	if d == f.draft {
		f.listing, f.draft, f.singles, f.walk = listing, nil, nil, nil
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
