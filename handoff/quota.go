package handoff

import (
	"context"
	"slices"
	"sync"
	"time"
)

// quota divides the blocks that all clients together may hold, so that readers of
// the mount always find the rest. It is divided among the users who hold or want
// something, and a user's share among his connections. A connection may hold more
// while nobody else needs it; one that keeps more than its share while another has
// waited for grace is cut off.
type quota struct {
	limit int64 // blocks
	grace time.Duration

	mu      sync.Mutex
	held    int64          // guarded by mu, as are all below
	users   map[uint32]int // active members of each
	waiting []*request     // in order of arrival
	members map[*member]struct{}
}

// member is a connection. Its fields are guarded by the quota's mu.
type member struct {
	uid     uint32
	cut     func() // ends the connection; returns at once
	held    int64  // blocks
	waiting int    // requests
}

type request struct {
	member *member
	blocks int64
	ready  chan struct{} // closed once it is granted
}

func newQuota(limit int64, grace time.Duration) *quota {
	return &quota{limit: limit, grace: grace, users: map[uint32]int{}, members: map[*member]struct{}{}}
}

// acquire waits until the member may hold so many blocks more, at most the limit.
func (q *quota) acquire(ctx context.Context, m *member, blocks int64) error {
	r := &request{member: m, blocks: blocks, ready: make(chan struct{})}
	q.mu.Lock()
	q.change(m, 0, 1)
	q.waiting = append(q.waiting, r)
	q.grant()
	q.mu.Unlock()
	select {
	case <-r.ready:
		return nil
	default:
	}
	overdue := time.NewTicker(q.grace)
	defer overdue.Stop()
	for {
		select {
		case <-r.ready:
			return nil
		case <-overdue.C:
			for _, m := range q.greedy(r) {
				m.cut()
			}
		case <-ctx.Done():
			q.cancel(r)
			return context.Cause(ctx)
		}
	}
}

// release gives blocks back.
func (q *quota) release(m *member, blocks int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.change(m, -blocks, 0)
	q.grant()
}

// cancel takes a request back, granted or not.
func (q *quota) cancel(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, r); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.change(r.member, 0, -1)
	} else {
		q.change(r.member, -r.blocks, 0)
	}
	q.grant()
}

// change books blocks and requests of a member, who is active while he has any.
func (q *quota) change(m *member, blocks int64, requests int) {
	before := m.held > 0 || m.waiting > 0
	m.held += blocks
	m.waiting += requests
	q.held += blocks
	switch active := m.held > 0 || m.waiting > 0; {
	case active && !before:
		q.users[m.uid]++
		q.members[m] = struct{}{}
	case before && !active:
		if q.users[m.uid]--; q.users[m.uid] == 0 {
			delete(q.users, m.uid)
		}
		delete(q.members, m)
	}
}

// share is how many blocks are an active member's.
func (q *quota) share(m *member) int64 {
	return q.limit / int64(len(q.users)) / int64(q.users[m.uid])
}

// grant serves the line. Who has his share is passed by; who does not fit stops
// those behind, so that small requests do not starve a large one.
func (q *quota) grant() {
	for i := 0; i < len(q.waiting); {
		r := q.waiting[i]
		switch {
		case r.member.held > 0 && r.member.held+r.blocks > q.share(r.member):
			i++
		case q.held+r.blocks > q.limit:
			return
		default:
			q.waiting = slices.Delete(q.waiting, i, i+1)
			q.change(r.member, r.blocks, -1)
			close(r.ready)
		}
	}
}

// greedy are those who hold more than their share while r waits for what is his:
// nobody if it is his own share that he waits for.
func (q *quota) greedy(r *request) (greedy []*member) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.waiting, r) || r.member.held > 0 && r.member.held+r.blocks > q.share(r.member) {
		return nil
	}
	for m := range q.members {
		if m != r.member && m.held > q.share(m) {
			greedy = append(greedy, m)
		}
	}
	return greedy
}
