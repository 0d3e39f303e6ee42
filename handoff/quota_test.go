package handoff

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// ask asks for blocks, and says whether they were granted at once.
func ask(q *quota, m *member, blocks int64) (*request, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := &request{member: m, blocks: blocks, ready: make(chan struct{})}
	q.change(m, 0, 1)
	q.waiting = append(q.waiting, r)
	q.grant()
	return r, granted(r)
}

func granted(r *request) bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// One alone has all; a second gets half as soon as it is given back, whoever asks
// how often.
func TestQuotaDivides(t *testing.T) {
	q := newQuota(16, time.Hour)
	a, b := &member{uid: 1}, &member{uid: 1}
	for range 16 {
		if _, ok := ask(q, a, 1); !ok {
			t.Fatal("one alone does not get all")
		}
	}
	more, _ := ask(q, a, 1)
	first, _ := ask(q, b, 4)
	if granted(more) || granted(first) {
		t.Fatal("more is granted than there is")
	}
	q.release(a, 4)
	if granted(more) || !granted(first) {
		t.Error("what comes free is for who has less than his share")
	}
	q.release(a, 5)
	if !granted(more) {
		t.Error("a has 7 of 8, and waits")
	}
}

// A user with many connections has the share of one user.
func TestQuotaIsByUser(t *testing.T) {
	q := newQuota(64, time.Hour)
	many := make([]*member, 30)
	for i := range many {
		many[i] = &member{uid: 1}
		ask(q, many[i], 1)
	}
	other := &member{uid: 2}
	for range 32 {
		if _, ok := ask(q, other, 1); !ok {
			t.Fatalf("another user is refused at %d of 32", other.held)
		}
	}
	if _, ok := ask(q, other, 1); ok {
		t.Error("a user gets more than half of two")
	}
}

// A large request is not passed by small ones for ever.
func TestQuotaKeepsTheLine(t *testing.T) {
	q := newQuota(8, time.Hour)
	a, b, c := &member{uid: 1}, &member{uid: 2}, &member{uid: 3}
	ask(q, a, 2)
	ask(q, a, 4)
	large, _ := ask(q, b, 4)
	small, _ := ask(q, c, 1)
	if granted(large) || granted(small) {
		t.Fatal("a small request passes a large one")
	}
	q.release(a, 4)
	if !granted(large) || !granted(small) {
		t.Error("neither is granted")
	}
}

// What is cancelled leaves nothing behind.
func TestQuotaCancel(t *testing.T) {
	q := newQuota(4, time.Hour)
	a, b := &member{uid: 1}, &member{uid: 2}
	ask(q, a, 4)
	waiting, _ := ask(q, b, 4)
	q.cancel(waiting)
	late, _ := ask(q, b, 2)
	q.release(a, 4)
	q.cancel(late) // granted meanwhile
	if q.held != 0 || len(q.users) != 0 || len(q.members) != 0 || len(q.waiting) != 0 {
		t.Errorf("%d held, %d users, %d members, %d wait", q.held, len(q.users), len(q.members), len(q.waiting))
	}
}

// Who keeps more than his share while another waits is cut off, after the grace and
// not before; who waits for his own share has nobody cut off.
func TestQuotaCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuota(8, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var cut time.Time
		greedy := &member{uid: 1}
		greedy.cut = func() { cut = time.Now(); q.release(greedy, greedy.held) }
		modest := &member{uid: 1, cut: func() { t.Error("the modest one is cut off") }}
		began := time.Now()
		for range 8 {
			if err := q.acquire(ctx, greedy, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.acquire(ctx, modest, 3); err != nil {
			t.Fatal(err)
		}
		if cut.Sub(began) != time.Minute {
			t.Errorf("cut off after %v", cut.Sub(began))
		}
		go func() {
			time.Sleep(time.Hour)
			cancel()
		}()
		if err := q.acquire(ctx, modest, 8); !errors.Is(err, context.Canceled) {
			t.Errorf("more than there is: %v", err)
		}
	})
}
