// What probes ask: whether the daemon lives, and whether its store answers. The
// answers name no object, since anyone may ask.

package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"weightfs/remote"
)

const (
	// healthTimeout is how long the mount may take to answer itself.
	healthTimeout = 5 * time.Second
	// readyTimeout is how long the store may take for one key, retries included.
	readyTimeout = 5 * time.Second
	// readyTTL is how long one answer of the store holds: probes come every few
	// seconds from each of several, and a LIST costs money.
	readyTTL = 15 * time.Second
	// unreadyTTL is the same for a failure: the store may be back.
	unreadyTTL = 2 * time.Second
)

// healthHandler answers /healthz: alive means that the mount answers the kernel.
// A store that does not is no reason to end a daemon whose readers wait for it.
func (m *Mount) healthHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		if err := m.Server.Ping(ctx); err != nil {
			m.Logger.Warn("the mount does not answer", "err", err)
			http.Error(w, "the mount does not answer the kernel", http.StatusServiceUnavailable)
			return
		}
		answerOK(w)
	})
}

// readyHandler answers /readyz: ready means that the store has lately listed one
// key of the source.
func (m *Mount) readyHandler(life context.Context) http.Handler {
	ready := newReadiness(life, m.Store, m.Logger)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cause := ready.check(r.Context()); cause != "" {
			http.Error(w, cause, http.StatusServiceUnavailable)
			return
		}
		answerOK(w)
	})
}

func answerOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// readiness remembers whether a store answers. Safe for concurrent use.
type readiness struct {
	life   context.Context // of the questions: an answer is for more than who asked
	store  remote.Store
	logger *slog.Logger

	turn  chan struct{} // held by the one who asks, and looks at what is below
	until time.Time     // how long cause holds
	cause string        // "": the store answers
	known bool
}

func newReadiness(life context.Context, store remote.Store, logger *slog.Logger) *readiness {
	return &readiness{life: life, store: store, logger: logger, turn: make(chan struct{}, 1)}
}

// check returns why the store is not ready, in a line that names no object, or
// "". Whoever comes while it is being asked gets the same answer.
func (r *readiness) check(ctx context.Context) string {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return "the store is being asked"
	}
	if time.Now().Before(r.until) {
		return r.cause
	}
	err := r.ask()
	was, ttl := r.cause, readyTTL
	r.cause = ""
	if err != nil {
		r.cause, ttl = describe(err), unreadyTTL
	}
	if was != r.cause || !r.known {
		r.logger.Info("the store was asked for one key", "ready", err == nil, "err", err)
	}
	r.known, r.until = true, time.Now().Add(ttl)
	return r.cause
}

// ask lists one key.
func (r *readiness) ask() error {
	ctx, cancel := context.WithTimeout(r.life, readyTimeout)
	defer cancel()
	var trouble error // why it is not answered yet
	ctx = remote.WithTrouble(ctx, func(cause error) { trouble = cause })
	_, err := r.store.ListPage(ctx, "", "", 1)
	if err != nil && ctx.Err() != nil && trouble != nil {
		return fmt.Errorf("no answer within %v: %w", readyTimeout, trouble)
	}
	return err
}

// describe says in a line what is wrong with the store.
func describe(err error) string {
	class := remote.ClassOf(err)
	means := map[remote.ErrorClass]string{
		remote.Forbidden:    "it refuses the credentials, or a policy forbids to list",
		remote.NotFound:     "there is no such bucket, or folder",
		remote.Throttled:    "it wants fewer requests",
		remote.ServerError:  "it fails by itself",
		remote.TimedOut:     "it does not answer in time",
		remote.NetworkError: "it cannot be reached, or the connection broke",
		remote.Untrusted:    "its certificate is not trusted",
	}
	if text, ok := means[class]; ok {
		return fmt.Sprintf("the store is not ready: %s: %s", class, text)
	}
	return fmt.Sprintf("the store is not ready: %s: the log says more", class)
}
