package mounts

import (
	"context"
	"sync"
)

// Locks are locks by name. The zero value is ready, and safe for concurrent use.
type Locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the lock is given back; guarded by mu
}

// TryLock takes the lock of that name, unless somebody has it.
func (l *Locks) TryLock(name string) (unlock func(), ok bool) {
	unlock, _ = l.take(name)
	return unlock, unlock != nil
}

// Lock waits for the lock of that name until ctx ends.
func (l *Locks) Lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		unlock, busy := l.take(name)
		if unlock != nil {
			return unlock, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns either the function that gives the lock back, or a channel that
// is closed when its holder does.
func (l *Locks) take(name string) (unlock func(), busy <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if holder, taken := l.held[name]; taken {
		return nil, holder
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	l.held[name] = done
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
		close(done)
	}, nil
}
